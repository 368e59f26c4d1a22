import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from eosin.evaluate.knn import Knn
from eosin.evaluate.labelled import LabelledFeatures
from eosin.watch.probes import cross_knn_accuracies, knn_accuracies, site_probe

KNN = Knn(num_neighbours=3, vote="majority")


def labelled(num: int, num_groups: int, seed: int = 0, gap: float = 1.0) -> LabelledFeatures:
    """Make two overlapping classes on the unit sphere, in groups that hold both."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num)
    features = rng.normal(size=(num, 6)) + gap * np.where(labels, 1.0, -1.0)[:, None]
    return LabelledFeatures(
        features=(features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32),
        labels=labels.astype(np.int64),
        class_names=("a", "b"),
        names=tuple(str(number) for number in range(num)),
        groups=tuple(f"g{number % num_groups}" for number in range(num)),
    )


def by_group(samples: LabelledFeatures) -> np.ndarray:
    return np.unique(samples.groups, return_inverse=True)[1]


def test_holding_out_each_group_gives_sklearns_predictions():
    samples = labelled(120, num_groups=8, gap=0.3)
    expected = cross_val_predict(
        KNeighborsClassifier(3),
        samples.features,
        samples.labels,
        groups=samples.groups,
        cv=LeaveOneGroupOut(),
    )
    told = cross_knn_accuracies(KNN, samples, by_group(samples))
    assert told.plain == pytest.approx((expected == samples.labels).mean())
    assert told.balanced == pytest.approx(balanced_accuracy_score(samples.labels, expected))
    assert 0.5 < told.plain < 1


def test_a_group_never_tells_itself():
    # Each group is one point of its own class: only the group itself could tell it.
    samples = LabelledFeatures(
        features=np.repeat(np.eye(6, dtype=np.float32), 5, axis=0),
        labels=np.repeat(np.arange(6), 5).astype(np.int64),
        class_names=tuple("abcdef"),
        names=tuple(str(number) for number in range(30)),
        groups=tuple(str(number // 5) for number in range(30)),
    )
    assert cross_knn_accuracies(KNN, samples, by_group(samples)).plain == 0


def test_a_part_that_is_asked_is_told_by_the_part_that_is_known():
    known, asked = labelled(80, 8, seed=1, gap=0.4), labelled(50, 5, seed=2, gap=0.4)
    classifier = KNeighborsClassifier(3).fit(known.features, known.labels)
    told = knn_accuracies(KNN, known, asked)
    assert told.plain == pytest.approx(classifier.score(asked.features, asked.labels))


def sites_of(num_sites: int, num_patients: int, signal: float) -> tuple:
    rng = np.random.default_rng(4)
    site = np.repeat(np.arange(num_sites), num_patients * 6)
    patient = np.repeat(np.arange(num_sites * num_patients), 6)
    features = rng.normal(size=(len(site), 16)) + signal * np.eye(16)[site]
    sites = [f"S{number}" for number in site]
    return features.astype(np.float32), [f"P{number}" for number in patient], sites


def test_a_site_that_colours_its_slides_is_told_and_chance_is_said():
    features, patients, sites = sites_of(4, 5, signal=8.0)
    told = site_probe(features, patients=patients, sites=sites, knn=KNN)
    assert told == (1.0, 0.25)


def test_without_a_signal_sites_are_told_by_chance():
    features, patients, sites = sites_of(4, 12, signal=0.0)
    told = site_probe(features, patients=patients, sites=sites, knn=KNN)
    assert told is not None
    assert abs(told.accuracy - told.chance) < 0.12


def test_what_a_patient_alone_tells_is_not_the_site():
    # Tiles of a patient are alike, and patients of a site are not.
    rng = np.random.default_rng(0)
    of_patient = rng.normal(size=(24, 16))
    features = np.repeat(of_patient, 6, axis=0).astype(np.float32)
    patients = [f"P{number // 6}" for number in range(144)]
    sites = [f"S{number // 72}" for number in range(144)]
    told = site_probe(features, patients=patients, sites=sites, knn=KNN)
    assert told is not None
    assert told.accuracy < 0.75


def test_unknown_sites_and_sites_of_one_patient_are_left_out():
    features, patients, sites = sites_of(3, 2, signal=8.0)
    renamed = ["" if site == "S0" else site for site in sites]
    told = site_probe(features, patients=patients, sites=renamed, knn=KNN)
    assert told is not None
    assert told.chance == 0.5
    alone = [
        "P0" if site == "S1" else patient for patient, site in zip(patients, sites, strict=True)
    ]
    assert site_probe(features, patients=alone, sites=renamed, knn=KNN) is None

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from eosin.evaluate.knn import Knn
from eosin.evaluate.labelled import LabelledFeatures
from eosin.watch import bank_watch
from eosin.watch.probes import cross_knn_accuracies, knn_accuracies, site_probe

KNN = Knn(num_neighbours=3, vote="majority")
BANK_KNN = bank_watch.SITE_KNN


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


def sites_of(
    num_sites: int, num_patients: int, signal: float, *, of_patients: float = 0.0, seed: int = 4
) -> tuple:
    rng = np.random.default_rng(seed)
    site = np.repeat(np.arange(num_sites), num_patients * 6)
    patient = np.repeat(np.arange(num_sites * num_patients), 6)
    features = rng.normal(size=(len(site), 16)) + signal * np.eye(16)[site]
    features += of_patients * rng.normal(size=(num_sites * num_patients, 16))[patient]
    sites = [f"S{number}" for number in site]
    return features.astype(np.float32), [f"P{number}" for number in patient], sites


def test_a_site_that_colours_its_slides_is_told_and_chance_is_said():
    features, patients, sites = sites_of(4, 5, signal=8.0)
    told = site_probe(features, patients=patients, sites=sites, knn=KNN)
    assert told is not None
    assert told.accuracy == 1.0
    assert 0.1 < told.chance < 0.3
    assert site_probe(features, patients=patients, sites=sites, knn=KNN) == told


@pytest.mark.parametrize(
    ("num_sites", "num_patients", "of_patients", "precise_to"),
    [(2, 2, 0.0, 0.05), (2, 3, 0.0, 0.05), (4, 2, 0.0, 0.05), (4, 2, 2.0, 0.05), (8, 3, 0.0, 0.02)],
)
def test_without_a_signal_few_patients_a_site_are_told_as_well_as_chance_is_stated(
    num_sites: int, num_patients: int, of_patients: float, precise_to: float
):
    told = []
    for seed in range(60):
        features, patients, sites = sites_of(
            num_sites, num_patients, 0.0, of_patients=of_patients, seed=seed
        )
        told.append(site_probe(features, patients=patients, sites=sites, knn=BANK_KNN))
    accuracy, chance = np.mean(told, axis=0)
    assert abs(accuracy - chance) < precise_to
    # Less than guessing would give, since who is held out is missing from their site.
    assert max(accuracy, chance) < 1 / num_sites - precise_to / 2


@pytest.mark.parametrize(("num_sites", "num_patients"), [(2, 2), (2, 3), (4, 2), (8, 3)])
def test_a_leak_stands_out_where_few_patients_are_of_a_site(num_sites: int, num_patients: int):
    for seed in range(5):
        features, patients, sites = sites_of(
            num_sites, num_patients, 3.0, of_patients=0.5, seed=seed
        )
        told = site_probe(features, patients=patients, sites=sites, knn=BANK_KNN)
        assert told is not None
        assert told.accuracy > told.chance + 0.4


def test_neighbours_tell_a_site_as_the_classifier_does():
    features, patients, sites = sites_of(3, 4, signal=1.5)
    names = sorted(set(sites))
    samples = LabelledFeatures(
        features=features,
        labels=np.array([names.index(site) for site in sites]),
        class_names=tuple(names),
        names=tuple(map(str, range(len(sites)))),
        groups=tuple(patients),
    )
    told = site_probe(features, patients=patients, sites=sites, knn=BANK_KNN)
    assert told is not None
    expected = cross_knn_accuracies(BANK_KNN, samples, by_group(samples)).balanced
    assert told.accuracy == pytest.approx(expected)
    assert 0.4 < expected < 1


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
    assert told == site_probe(features[12:], patients=patients[12:], sites=sites[12:], knn=KNN)
    alone = [
        "P0" if site == "S1" else patient for patient, site in zip(patients, sites, strict=True)
    ]
    assert site_probe(features, patients=alone, sites=renamed, knn=KNN) is None

"""What features tell of labels by their neighbours alone, whole patients held out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from eosin.evaluate.knn import Knn
from eosin.evaluate.labelled import LabelledFeatures
from eosin.evaluate.metrics import accuracy, balanced_accuracy, confusion_matrix
from eosin.randomness import Purpose, rng_at

MIN_PATIENTS = 2
"""Of a site: with one patient alone, nothing of the site is left when that patient is held out."""

NUM_DEALS = 20
"""Times that sites are dealt out among the patients to find what chance gives."""


class Accuracies(NamedTuple):
    """Shares of samples that were told right."""

    plain: float
    balanced: float
    """Mean over the classes."""


class SiteProbe(NamedTuple):
    """How well features tell where a slide was made."""

    accuracy: float
    """Balanced over the sites."""
    chance: float
    """The same accuracy where sites are dealt out among the patients, which no feature can know.

    Far below 1 / sites where patients are few: who is held out is missing among the neighbours of
    their site, and of theirs alone."""


def knn_accuracies(knn: Knn, known: LabelledFeatures, asked: LabelledFeatures) -> Accuracies:
    """Return how well samples are told by others, given in two parts."""
    predictions = knn.predict(known, asked.features)
    return _accuracies(asked.labels, predictions, len(asked.class_names))


def cross_knn_accuracies(
    knn: Knn, labelled: LabelledFeatures, folds: Int64[np.ndarray, " samples"]
) -> Accuracies:
    """Return how well the samples of each fold are told by those of the others.

    Args:
        knn: The classifier.
        labelled: Samples.
        folds: Of the samples, two at least; a group that is cut would tell itself.
    """
    predictions = np.empty_like(labelled.labels)
    for fold in np.unique(folds):
        is_asked = folds == fold
        predictions[is_asked] = knn.predict(_of(labelled, ~is_asked), labelled.features[is_asked])
    return _accuracies(labelled.labels, predictions, len(labelled.class_names))


def site_probe(
    features: Float[np.ndarray, "tiles dim"],
    *,
    patients: Sequence[str],
    sites: Sequence[str],
    knn: Knn,
) -> SiteProbe | None:
    """Return how well tiles tell their site when all tiles of their patient are held out.

    Tiles without a site, and of sites with fewer than `MIN_PATIENTS` patients, are left out. None
    where fewer than two sites remain.

    Args:
        features: Of tiles.
        patients: Of the tiles, in the same order.
        sites: Of the tiles; empty where unknown.
        knn: The classifier.
    """
    patients_of: dict[str, set[str]] = {}
    for patient, site in zip(patients, sites, strict=True):
        patients_of.setdefault(site, set()).add(patient)
    names = sorted(
        site for site, people in patients_of.items() if site and len(people) >= MIN_PATIENTS
    )
    if len(names) < 2:
        return None
    rows = [row for row, site in enumerate(sites) if site in names]
    shares = _vote_shares(features[rows], [patients[row] for row in rows], knn)
    owners = sorted({(patients[row], sites[row]) for row in rows})
    owner_of = np.array([owners.index((patients[row], sites[row])) for row in rows])
    site_of = np.array([names.index(site) for _, site in owners], dtype=np.int64)
    accuracy, *by_chance = (
        _told_by(shares, sites_of_owners[owner_of], len(names))
        for sites_of_owners in (site_of, *_deals(site_of))
    )
    return SiteProbe(accuracy=accuracy, chance=float(np.mean(by_chance)))


def _vote_shares(
    features: Float[np.ndarray, "tiles dim"], patients: Sequence[str], knn: Knn
) -> Float[np.ndarray, "tiles tiles"]:
    """Return each tile's vote on each tile (row), none on those of its own patient.

    Neighbours are looked for once, whatever labels they are asked for.
    """
    _, patient_of = np.unique(patients, return_inverse=True)
    tiles = np.arange(len(features))
    shares = np.zeros((len(tiles), len(tiles)))
    for patient in range(patient_of.max() + 1):
        own, others = tiles[patient_of == patient], tiles[patient_of != patient]
        names = tuple(map(str, others))
        known = LabelledFeatures(
            features=features[others],
            labels=np.arange(len(others), dtype=np.int64),
            class_names=names,
            names=names,
            groups=names,
        )
        shares[np.ix_(own, others)] = knn.probabilities(known, features[own])
    return shares


def _deals(site_of: Int64[np.ndarray, " owners"]) -> Iterator[Int64[np.ndarray, " owners"]]:
    """Yield the sites of patients shuffled, the same way each time.

    Those that only rename the sites are left out: where patients are few they are many, and a leak
    would be taken for chance.
    """
    num_sites = len(set(site_of.tolist()))
    rng = rng_at(0, Purpose.HELD_OUT)
    for _ in range(NUM_DEALS):
        dealt = rng.permutation(site_of)
        if len(set(zip(site_of.tolist(), dealt.tolist(), strict=True))) > num_sites:
            yield dealt


def _told_by(
    shares: Float[np.ndarray, "tiles tiles"], labels: Int64[np.ndarray, " tiles"], num_sites: int
) -> float:
    """Return the balanced accuracy with which neighbours tell labels."""
    predictions = (shares @ np.eye(num_sites)[labels]).argmax(axis=1)
    return _accuracies(labels, predictions, num_sites).balanced


def _of(labelled: LabelledFeatures, chosen: np.ndarray) -> LabelledFeatures:
    rows = np.flatnonzero(chosen)
    return LabelledFeatures(
        features=labelled.features[rows],
        labels=labelled.labels[rows],
        class_names=labelled.class_names,
        names=tuple(labelled.names[row] for row in rows),
        groups=tuple(labelled.groups[row] for row in rows),
    )


def _accuracies(
    labels: Int64[np.ndarray, " samples"],
    predictions: Int64[np.ndarray, " samples"],
    num_classes: int,
) -> Accuracies:
    confusion = confusion_matrix(labels, predictions, num_classes)
    return Accuracies(float(accuracy(confusion)), float(balanced_accuracy(confusion)))

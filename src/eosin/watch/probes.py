"""What features tell of labels by their neighbours alone, whole patients held out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from eosin.evaluate.knn import Knn
from eosin.evaluate.labelled import LabelledFeatures
from eosin.evaluate.metrics import accuracy, balanced_accuracy, confusion_matrix

MIN_PATIENTS = 2
"""Of a site: with one patient alone, nothing of the site is left when that patient is held out."""


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


def knn_accuracies(knn: Knn, known: LabelledFeatures, asked: LabelledFeatures) -> Accuracies:
    """Return how well samples are told by others, given in two parts."""
    return _accuracies(asked, knn.predict(known, asked.features))


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
    return _accuracies(labelled, predictions)


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
    labelled = LabelledFeatures(
        features=features[rows],
        labels=np.array([names.index(sites[row]) for row in rows], dtype=np.int64),
        class_names=tuple(names),
        names=tuple(str(row) for row in rows),
        groups=tuple(patients[row] for row in rows),
    )
    _, patient_of = np.unique(labelled.groups, return_inverse=True)
    told = cross_knn_accuracies(knn, labelled, patient_of)
    return SiteProbe(accuracy=told.balanced, chance=1 / len(names))


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
    labelled: LabelledFeatures, predictions: Int64[np.ndarray, " samples"]
) -> Accuracies:
    confusion = confusion_matrix(labelled.labels, predictions, len(labelled.class_names))
    return Accuracies(float(accuracy(confusion)), float(balanced_accuracy(confusion)))

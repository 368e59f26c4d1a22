"""Metrics of a classifier, all read off its confusion matrix.

A metric takes confusion matrices of any leading shape, so that ten thousand resamples are one call.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Real
from numpy.typing import ArrayLike

from eosin.errors import ConfigError

Metric = Callable[[Real[np.ndarray, "*lead c c"]], Float[np.ndarray, "*lead"]]


def confusion_matrix(
    targets: Int[np.ndarray, " samples"],
    predictions: Int[np.ndarray, "_"],
    num_classes: int,
) -> Int[np.ndarray, "num_classes num_classes"]:
    """Count samples by true class (row) and predicted class (column).

    Raises:
        ConfigError: If there are not as many predictions as targets, or a class is out of range.
    """
    require_classes(targets, predictions, num_classes)
    pairs = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def require_classes(
    targets: Int[np.ndarray, " samples"], predictions: Int[np.ndarray, "_"], num_classes: int
) -> None:
    """Check that there is one prediction a target and that all are classes.

    Raises:
        ConfigError: If not.
    """
    if len(predictions) != len(targets):
        raise ConfigError(f"{len(predictions)} predictions for {len(targets)} targets")
    for name, classes in (("targets", targets), ("predictions", predictions)):
        if len(classes) and not (classes.min() >= 0 and classes.max() < num_classes):
            raise ConfigError(
                f"{name} range from {classes.min()} to {classes.max()}; "
                f"with {num_classes} classes they must be 0 to {num_classes - 1}"
            )


def accuracy(confusion: Real[np.ndarray, "*lead c c"]) -> Float[np.ndarray, "*lead"]:
    """Return the share of samples that are right; NaN without samples."""
    right = np.trace(confusion, axis1=-2, axis2=-1)
    return _ratio(right, confusion.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: Real[np.ndarray, "*lead c c"]) -> Float[np.ndarray, "*lead"]:
    """Return the mean recall of the classes that occur among the targets; NaN without samples.

    A class without targets is left out, also when it is predicted. (torchmetrics' macro accuracy
    counts such a class as 0; the two agree where every class occurs.)

    Source: scikit-learn's `balanced_accuracy_score`, whose rule this is.
    """
    recall = _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))
    occurs = ~np.isnan(recall)
    return _ratio(np.where(occurs, recall, 0.0).sum(axis=-1), occurs.sum(axis=-1))


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> Float[np.ndarray, "*shape"]:
    ratio = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=np.asarray(denominator) > 0)
    return ratio


METRICS: dict[str, Metric] = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
"""By the name under which results report them."""

"""Nearest-neighbour classifier by cosine: what a representation knows without any training."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float, Int, Int64

from eosin.errors import ConfigError
from eosin.evaluate.labelled import LabelledFeatures

MAX_SIMILARITIES = 1 << 24
"""Bounds the similarities held at once, 64 MiB of float32, whatever the number of samples."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Knn:
    """Let the most similar training samples vote."""

    num_neighbours: int = 20
    """Lowered to the number of training samples where there are fewer."""
    vote: Literal["weighted", "majority"] = "weighted"
    """Weighted: a neighbour counts exp(cosine / temperature). Majority: each counts one."""
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.num_neighbours < 1:
            raise ConfigError(f"num_neighbours={self.num_neighbours} must be 1 or more")
        if self.vote not in ("weighted", "majority"):
            raise ConfigError(f"vote={self.vote!r} must be 'weighted' or 'majority'")
        if not self.temperature > 0:
            raise ConfigError(f"temperature={self.temperature} must be above 0")

    def probabilities(
        self, train: LabelledFeatures, features: Float[np.ndarray, "samples dim"]
    ) -> Float[np.ndarray, "samples classes"]:
        """Return the share of the vote of each class, for each row of `features`.

        Features are normalized here. Which of several equally similar samples are the last
        neighbours is not defined.

        Source: the weights are those of DINOv2's `dinov2/eval/knn.py` (commit b8931f7), with which
        classes are equal; there a softmax runs over the largest k asked for, so that shares for
        smaller k do not add up to one.
        """
        known = _unit(train.features)
        num_classes = len(train.class_names)
        shares = np.empty((len(features), num_classes), dtype=np.float64)
        at_once = max(1, MAX_SIMILARITIES // len(known))
        for start in range(0, len(features), at_once):
            cosine = _unit(features[start : start + at_once]) @ known.T
            nearest = self._nearest(cosine)
            weights = self._weights(np.take_along_axis(cosine, nearest, axis=1))
            shares[start : start + at_once] = _votes(train.labels[nearest], weights, num_classes)
        return shares

    def predict(
        self, train: LabelledFeatures, features: Float[np.ndarray, "samples dim"]
    ) -> Int64[np.ndarray, " samples"]:
        """Return the class with most votes, the first of several equal ones."""
        return np.asarray(self.probabilities(train, features).argmax(axis=1))

    def _nearest(self, cosine: Float[np.ndarray, "b train"]) -> Int[np.ndarray, "b k"]:
        num_known = cosine.shape[1]
        if self.num_neighbours >= num_known:
            return np.broadcast_to(np.arange(num_known), cosine.shape)
        return np.argpartition(cosine, -self.num_neighbours, axis=1)[:, -self.num_neighbours :]

    def _weights(self, cosine: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b k"]:
        if self.vote == "majority":
            return np.ones(cosine.shape)
        # Counted from the nearest, so that nothing overflows at a low temperature.
        ahead = cosine.astype(np.float64) - cosine.max(axis=1, keepdims=True)
        return np.asarray(np.exp(ahead / self.temperature))


def _unit(features: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b d"]:
    """Return rows of length one; a row of zeros stays one, equally far from everything."""
    wide = features.astype(np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(length > 0, length, 1))


def _votes(
    labels: Int[np.ndarray, "b k"], weights: Float[np.ndarray, "b k"], num_classes: int
) -> Float[np.ndarray, "b c"]:
    rows = np.arange(len(labels))[:, None]
    flat = np.bincount(
        (rows * num_classes + labels).ravel(),
        weights=weights.ravel(),
        minlength=len(labels) * num_classes,
    )
    votes = flat.reshape(len(labels), num_classes)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))

"""Cluster bootstrap: how far a metric would move with other slides or patients.

Patches of one slide are alike, so groups are drawn, never single patches. Only the confusion matrix
of each group matters, and groups with the same one are exchangeable: a resample is a multinomial
draw over the distinct matrices, which makes ten thousand of them one matrix product.

Percentile intervals are a little narrow where groups are few: among 12 groups, those of a nominal
95 % held the truth in about 91 % of simulated studies.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from eosin.errors import ConfigError
from eosin.evaluate.metrics import Metric, require_classes

MAX_DRAWN = 1 << 22
"""Bounds the memory of one chunk of resamples, in numbers drawn."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Give a value with the range that resampling its groups left it in."""

    value: float
    low: float
    """NaN, like `high`, where there are fewer than two groups to resample."""
    high: float
    confidence: float
    num_groups: int
    num_resamples: int

    @property
    def excludes_zero(self) -> bool:
        """Return whether the whole range is on one side of zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """Resample groups with replacement and take percentiles of a metric."""

    num_resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_resamples < 100:
            raise ConfigError(f"num_resamples={self.num_resamples} is too few; take 100 or more")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence={self.confidence} must be between 0 and 1, as in 0.95")

    def interval(
        self,
        metric: Metric,
        targets: Int[np.ndarray, " samples"],
        predictions: Int[np.ndarray, " samples"],
        groups: Sequence[str],
    ) -> Interval:
        """Return a metric of the predictions with its interval.

        Args:
            metric: Maps confusion matrices to values, such as `metrics.accuracy`.
            targets: True classes, from 0.
            predictions: Predicted classes.
            groups: Slide or patient of each sample; the unit that is resampled.
        """
        return self._resample(
            lambda confusion: metric(confusion[..., 0, :, :]), targets, [predictions], groups
        )

    def paired_difference(
        self,
        metric: Metric,
        targets: Int[np.ndarray, " samples"],
        pair: tuple[Int[np.ndarray, " samples"], Int[np.ndarray, " samples"]],
        groups: Sequence[str],
    ) -> Interval:
        """Return the metric of the second predictions minus that of the first, with its interval.

        Both are resampled together: what makes a slide hard for both cancels, so the interval is
        narrower than two intervals side by side suggest.
        """

        def difference(
            confusion: Float[np.ndarray, "*lead 2 c c"],
        ) -> Float[np.ndarray, "*lead"]:
            return metric(confusion[..., 1, :, :]) - metric(confusion[..., 0, :, :])

        return self._resample(difference, targets, list(pair), groups)

    def _resample(
        self,
        statistic: Callable[[Float[np.ndarray, "*lead m c c"]], Float[np.ndarray, "*lead"]],
        targets: Int[np.ndarray, " samples"],
        predictions: list[Int[np.ndarray, " samples"]],
        groups: Sequence[str],
    ) -> Interval:
        confusion = _confusion_by_group(targets, predictions, groups)
        value = statistic(confusion.sum(axis=0)[None]).item()
        low = high = math.nan
        if len(confusion) > 1:
            drawn = np.concatenate([statistic(chunk) for chunk in self._chunks(confusion)])
            tail = (1 - self.confidence) / 2
            low, high = (float(edge) for edge in np.quantile(drawn, [tail, 1 - tail]))
        return Interval(
            value=value,
            low=low,
            high=high,
            confidence=self.confidence,
            num_groups=len(confusion),
            num_resamples=self.num_resamples,
        )

    def _chunks(
        self, confusion: Float[np.ndarray, "groups m c c"]
    ) -> Iterator[Float[np.ndarray, "chunk m c c"]]:
        """Yield the summed confusion matrices of resampled groups, a bounded number at a time."""
        num_groups, *shape = confusion.shape
        distinct, times = np.unique(confusion.reshape(num_groups, -1), axis=0, return_counts=True)
        rng = np.random.default_rng(self.seed)
        at_once = max(1, MAX_DRAWN // max(distinct.shape))
        for start in range(0, self.num_resamples, at_once):
            num = min(at_once, self.num_resamples - start)
            counts = rng.multinomial(num_groups, times / num_groups, size=num)
            yield (counts.astype(float) @ distinct).reshape(num, *shape)


def _confusion_by_group(
    targets: Int[np.ndarray, " samples"],
    predictions: list[Int[np.ndarray, " samples"]],
    groups: Sequence[str],
) -> Float[np.ndarray, "groups m c c"]:
    """Count one confusion matrix per group and model."""
    if len(targets) == 0:
        raise ConfigError("there are no samples to take a metric of")
    if len(groups) != len(targets):
        raise ConfigError(f"{len(groups)} groups for {len(targets)} samples: give one a sample")
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    num_classes = 1 + max(int(classes.max()) for classes in (targets, *predictions))
    by_group = np.zeros((len(names), len(predictions), num_classes, num_classes))
    for index, classes in enumerate(predictions):
        require_classes(targets, classes, num_classes)
        np.add.at(by_group[:, index], (group, targets, classes), 1.0)
    return by_group

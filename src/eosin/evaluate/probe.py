"""Probe features with classifiers, and compare two models on the same samples.

Every sample's prediction is kept, because a paired comparison needs it, also a later one.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from eosin.errors import ConfigError, InputError
from eosin.evaluate.bootstrap import Bootstrap, Interval
from eosin.evaluate.knn import Knn
from eosin.evaluate.labelled import LabelledFeatures
from eosin.evaluate.linear import LinearProbe
from eosin.evaluate.metrics import METRICS, confusion_matrix


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeResult:
    """Say how well one classifier did on one model's features."""

    probe: str
    """Which classifier, "knn" or "linear"."""
    settings: dict[str, str | int | float]
    """Those of the classifier and what it chose itself."""
    accuracy: Interval
    balanced_accuracy: Interval
    num_train: int
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    targets: tuple[int, ...]
    predictions: tuple[int, ...]
    """In the order of `names`, as are groups and targets."""

    @property
    def confusion(self) -> list[list[int]]:
        """Count samples by true class (row) and predicted class (column)."""
        counts = confusion_matrix(
            np.asarray(self.targets), np.asarray(self.predictions), len(self.class_names)
        )
        return [[int(count) for count in row] for row in counts]

    def to_json(self) -> dict[str, object]:
        """Return all of it as values that `json` writes; numbers that do not exist are null."""
        return {name: _without_nan(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "ProbeResult":
        """Return what `to_json` gave.

        Raises:
            InputError: If something is missing or is not of a probe result.
        """
        try:
            fields: dict[str, Any] = dict(values)
            for name in METRICS:
                fields[name] = _interval(fields[name])
            for name in ("class_names", "names", "groups", "targets", "predictions"):
                fields[name] = tuple(fields[name])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise InputError(f"this is no probe result ({error}); evaluate again") from error


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Say by how much a second model is better than a first, on the same samples."""

    probe: str
    accuracy: Interval
    """Second minus first; the groups were resampled once for both."""
    balanced_accuracy: Interval

    def to_json(self) -> dict[str, object]:
        """Return all of it as values that `json` writes; numbers that do not exist are null."""
        return {name: _without_nan(value) for name, value in asdict(self).items()}


def probe(
    train: LabelledFeatures,
    test: LabelledFeatures,
    *,
    knn: Knn | None = None,
    linear: LinearProbe | None = None,
    bootstrap: Bootstrap | None = None,
) -> list[ProbeResult]:
    """Classify the test part by its neighbours and by a linear probe, in this order.

    The test part is looked at once, after everything is chosen. Without arguments each classifier
    and the bootstrap have their defaults.

    Raises:
        ConfigError: If the parts have other classes or dimensions, or share a group.
    """
    _check_parts(train, test)
    knn = knn or Knn()
    linear = linear or LinearProbe()
    bootstrap = bootstrap or Bootstrap()
    fit = linear.fit(train)
    return [
        _result("knn", asdict(knn), knn.predict(train, test.features), (train, test), bootstrap),
        _result(
            "linear",
            {**asdict(linear), "chosen_c": fit.c},
            fit.predict(test.features),
            (train, test),
            bootstrap,
        ),
    ]


def compare(
    first: ProbeResult, second: ProbeResult, bootstrap: Bootstrap | None = None
) -> Comparison:
    """Return the second model's metrics minus the first's, with intervals of the difference.

    Raises:
        ConfigError: If the two are not of the same classifier and the same samples.
    """
    if first.probe != second.probe:
        raise ConfigError(f"cannot compare {first.probe} with {second.probe}; compare like probes")
    for name in ("names", "groups", "targets", "class_names"):
        if getattr(first, name) != getattr(second, name):
            raise ConfigError(
                f"the two results differ in their {name}; only results on the same test samples "
                "in the same order can be compared"
            )
    bootstrap = bootstrap or Bootstrap()
    pair = (np.asarray(first.predictions), np.asarray(second.predictions))
    targets = np.asarray(first.targets)
    return Comparison(
        probe=first.probe,
        **{
            name: bootstrap.paired_difference(metric, targets, pair, first.groups)
            for name, metric in METRICS.items()
        },
    )


def _check_parts(train: LabelledFeatures, test: LabelledFeatures) -> None:
    if train.class_names != test.class_names:
        raise ConfigError(
            f"train has the classes {', '.join(train.class_names)} but test has "
            f"{', '.join(test.class_names)}; give both the same ones in the same order"
        )
    if train.features.shape[1] != test.features.shape[1]:
        raise ConfigError(
            f"train features have {train.features.shape[1]} dimensions but test features "
            f"{test.features.shape[1]}; embed both with one model"
        )
    shared = sorted(set(train.groups) & set(test.groups))
    if shared:
        raise ConfigError(
            f"{len(shared)} slides or patients are in both train and test, such as {shared[0]}; "
            "split by group, or the numbers are too good"
        )


def _result(
    name: str,
    settings: dict[str, str | int | float],
    predictions: np.ndarray,
    parts: tuple[LabelledFeatures, LabelledFeatures],
    bootstrap: Bootstrap,
) -> ProbeResult:
    train, test = parts
    return ProbeResult(
        probe=name,
        settings=settings,
        **{
            metric_name: bootstrap.interval(metric, test.labels, predictions, test.groups)
            for metric_name, metric in METRICS.items()
        },
        num_train=len(train.labels),
        class_names=test.class_names,
        names=test.names,
        groups=test.groups,
        targets=tuple(test.labels.tolist()),
        predictions=tuple(predictions.tolist()),
    )


def _interval(values: dict[str, Any]) -> Interval:
    edges = {name: math.nan for name in ("low", "high") if values[name] is None}
    return Interval(**{**values, **edges})


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value

"""How often each slide is drawn, from what is known about it: balance by patient, organ, area."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from eosin.catalog.entry import SlideEntry, Value
from eosin.catalog.table import columns_hint
from eosin.errors import ConfigError

SLIDE_COLUMN = "slide"
"""Stands for the slide itself in `SlideWeights.by`."""

AREA_COLUMN = "tissue_mm2"

_Group = tuple[Value, ...]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SlideWeights:
    """Weigh slides so that groups of them are drawn alike, however many slides they have.

    With `by=("organ", "patient")` each organ is drawn alike, within it each patient, and within a
    patient the slides share by their tissue area; the weight column then multiplies.
    """

    by: tuple[str, ...] = ()
    """Columns whose groups are drawn alike, the outermost first; "slide" is the slide itself."""
    column: str | None = None
    """Column of factors, applied last, so that it also makes one group more frequent than others;
    zero leaves a slide out."""
    tissue_area_power: float = 0.0
    """Slides of a group share by tissue area to this power: 0 alike, 1 by area, 0.5 in between."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", tuple(self.by))
        if len(set(self.by)) < len(self.by):
            raise ConfigError(f"by={self.by} names a column twice; each once is enough")
        if not math.isfinite(self.tissue_area_power):
            raise ConfigError(f"tissue_area_power={self.tissue_area_power} must be a number")

    def weights(self, entries: Sequence[SlideEntry]) -> Float[np.ndarray, " slides"]:
        """Return the share of draws of each slide; they add up to 1.

        Raises:
            ConfigError: If a column is not there, lacks a value, or holds what is no weight.
        """
        areas = self._areas(entries)
        groups = [tuple(_group(entry, column) for column in self.by) for entry in entries]
        # A group of slides without tissue must not hold a share that nobody can draw.
        drawable = [group for group, area in zip(groups, areas, strict=True) if area > 0]
        subgroups: defaultdict[_Group, set[_Group]] = defaultdict(set)
        for group in drawable:
            for depth in range(len(group)):
                subgroups[group[:depth]].add(group[: depth + 1])
        area_of: defaultdict[_Group, float] = defaultdict(float)
        for group, area in zip(groups, areas, strict=True):
            area_of[group] += area
        shares = np.zeros(len(entries))
        for number, (group, area) in enumerate(zip(groups, areas, strict=True)):
            if area > 0:
                alike = math.prod(len(subgroups[group[:depth]]) for depth in range(len(group)))
                shares[number] = area / area_of[group] / alike
        if self.column is not None:
            shares *= [_factor(entry, self.column) for entry in entries]
        if shares.sum() == 0:
            raise ConfigError("no slide has a weight above zero; look at the column or the tissue")
        return np.asarray(shares / shares.sum())

    def _areas(self, entries: Sequence[SlideEntry]) -> list[float]:
        if self.tissue_area_power == 0:
            return [1.0] * len(entries)
        areas = (_factor(entry, AREA_COLUMN) for entry in entries)
        return [area and area**self.tissue_area_power for area in areas]


def _group(entry: SlideEntry, column: str) -> Value:
    if column == SLIDE_COLUMN and column not in entry.metadata:
        return entry.path
    return _value(entry, column)


def _factor(entry: SlideEntry, column: str) -> float:
    value = _value(entry, column)
    if not isinstance(value, float) or not 0 <= value < math.inf:
        raise ConfigError(
            f"{entry.path}: column {column!r} holds {value!r}; a weight is a number from 0 up"
        )
    return value


def _value(entry: SlideEntry, column: str) -> Value:
    value = entry.metadata.get(column)
    if value is None:
        advice = "is made by `eosin scan`" if column == AREA_COLUMN else "is needed for weights"
        lacks = "has no value in" if column in entry.metadata else "has no column"
        hint = columns_hint(column, entry.metadata)
        raise ConfigError(
            f"{entry.path}: {lacks} {column!r}, which {advice}; fill it in, or leave such slides "
            f'out with where="{column} is not missing" ({hint})'
        )
    return value

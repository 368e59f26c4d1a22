"""One slide of a list: where it is and what is known about it before it is opened."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import final

from eosin.backends.mpp import SANE_MPP
from eosin.errors import InputError

Value = str | float | bool | None
"""What a column of a slide list holds; None where a slide has no value."""

MPP_COLUMNS = (
    *("mpp_override", "mpp", "spacing", "um_per_px", "um_per_pixel", "um/px"),
    *("microns_per_pixel", "micron_per_pixel", "pixel_size_um"),
)
"""Columns, in lower case, that say the microns per level-0 pixel; the first goes before others."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

PATIENT_COLUMN = "patient"
"""Column that says which slides are of one person."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SlideEntry:
    """A slide by its path, with the columns of its row."""

    path: str
    metadata: Mapping[str, Value] = field(default_factory=dict)
    fingerprint: str | None = None
    """Of the content, where an index knows it; None where nobody has read the file yet."""

    @property
    def name(self) -> str:
        """File name without its folder."""
        return PurePath(self.path).name

    @property
    def owner(self) -> str:
        """Patient when known, otherwise the file name without its last suffix.

        What all slides of a person share, so that a split by it cuts nobody in two. Not the
        fingerprint, which a folder does not know and an index does: the split would differ.
        """
        patient = self.metadata.get(PATIENT_COLUMN)
        return PurePath(self.path).stem if patient is None else str(patient)


def mpp_overrides(entries: Sequence[SlideEntry]) -> dict[str, float]:
    """Return microns per level-0 pixel by path, for slides whose row says it.

    Column `mpp_override`, or any of `MPP_COLUMNS` where that one is empty, in any case. What a file
    itself says is in `mpp_x` and `mpp_y` of an index and overrides nothing.

    Raises:
        InputError: If a row has something else there than a number of microns, or two that differ.
    """
    overrides: dict[str, float] = {}
    for entry in entries:
        mpp = stated_mpp(entry.metadata, entry.path)
        if mpp is not None:
            overrides[entry.path] = mpp
    return overrides


def says_no_number(row: Mapping[str, Value]) -> bool:
    """Return whether a row has words where microns per pixel belong, not a number as text."""
    return any(
        isinstance(value, str) and not _NUMBER.fullmatch(value.strip())
        for column, value in row.items()
        if column.strip().lower() in MPP_COLUMNS
    )


def stated_mpp(row: Mapping[str, Value], where: str) -> float | None:
    """Return the microns per level-0 pixel that a row of a slide list says; None if it says none.

    Args:
        row: Values by column.
        where: Which row, for messages.

    Raises:
        InputError: If the value is no number, is none that a slide can have, or two differ.
    """
    stated: dict[str, float] = {}
    for column, value in row.items():
        if column.strip().lower() not in MPP_COLUMNS or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, float):
            raise InputError(
                f"{where}: {column}={value!r} is no number of microns per pixel, such as 0.25; "
                "correct it, or leave the field empty where you do not know"
            )
        least, most = SANE_MPP
        if not least <= value <= most:
            raise InputError(
                f"{where}: {column}={value:g} is outside {least} to {most} microns per pixel; "
                "correct it, or leave the field empty"
            )
        stated[column] = value
    by_hand = [x for column, x in stated.items() if column.strip().lower() == MPP_COLUMNS[0]]
    values = by_hand or list(stated.values())
    if len(set(values)) > 1:
        pairs = ", ".join(f"{column}={value:g}" for column, value in stated.items())
        raise InputError(f"{where}: {pairs} say different microns per pixel; keep one column")
    return values[0] if values else None

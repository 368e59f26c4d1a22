"""One slide of a list: where it is and what is known about it before it is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import final

Value = str | float | bool | None
"""What a column of a slide list holds; None where a slide has no value."""

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

    Column `mpp_override`, or `mpp` where that one is empty. What a file itself says is in `mpp_x`
    and `mpp_y` of an index and overrides nothing.
    """
    overrides: dict[str, float] = {}
    for entry in entries:
        for column in ("mpp_override", "mpp"):
            mpp = entry.metadata.get(column)
            if isinstance(mpp, float) and not isinstance(mpp, bool):
                overrides[entry.path] = mpp
                break
    return overrides

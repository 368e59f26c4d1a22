"""One delivered sample."""

from collections.abc import Mapping
from dataclasses import dataclass

from eosin.geometry import PatchCoordinate
from eosin.plain import Plain
from eosin.transforms.base import Image


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """One candidate, or one slide, that did not give the sample."""

    slide_path: str
    cause: str
    """The filter's name, or what failed."""
    detail: str = ""
    coordinate: PatchCoordinate | None = None
    """The candidate's place; None when the whole slide gave none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchResult:
    """A patch, or the views of one, with where it came from."""

    index: int
    """Number of the sample in the stream."""
    image: Image | None
    """The transformed patch; None when there are views."""
    views: Mapping[str, Image] | None
    """The views by name; None when there are none."""
    augmentation: Mapping[str, Plain]
    """What was drawn at random to augment it, as plain values: `transforms` of a whole patch, or
    `shared` and, by name, `views`."""
    coordinate: PatchCoordinate
    tissue_fraction: float
    """Share of the patch that is tissue by the mask."""
    slide_metadata: Mapping[str, str]
    """`name`, `fingerprint`, `vendor` and `mpp_source` of the slide."""
    rejections: tuple[Rejection, ...] = ()
    """What was tried before, in order."""

"""One delivered sample."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from eosin.catalog.entry import Value
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
    slide_metadata: Mapping[str, Value]
    """`name`, `fingerprint`, `vendor` and `mpp_source` of the slide, and what its list says."""
    pixels_crc32: int | None = None
    """Of the patch before augmentation, where the stream was asked for it."""
    rejections: tuple[Rejection, ...] = ()
    """What was tried before, in order."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the pixels."""
        images = self.views.values() if self.views is not None else [self.image]
        return sum(image.nbytes for image in images if image is not None)


def checksum(pixels: UInt8[np.ndarray, "height width 3"]) -> int:
    """Return the CRC-32 of a patch's pixels, row by row."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)

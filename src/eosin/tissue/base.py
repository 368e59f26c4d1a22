"""Where a slide's mask comes from, and what every tissue detector does."""

import math
from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Bool, UInt8

from eosin.backends.base import Slide
from eosin.errors import SlideOpenError
from eosin.geometry import SlideInfo
from eosin.tissue.mask import TissueMask

MASK_MPP = 8.0
"""Microns per mask pixel: a 256-px patch at 0.25 um/px is 8 pixels wide."""

MASK_MAX_PX = 4096
"""Longer side of a mask at most; on larger slides the mask is coarser than `MASK_MPP`."""


class TissueSource(ABC):
    """Gives a slide its tissue mask: a detector, or a folder of masks that people drew."""

    @abstractmethod
    def tissue(self, slide: Slide) -> TissueMask:
        """Return where the tissue of a slide is.

        Raises:
            SlideError: If this slide has no mask and cannot get one.
        """

    def content_key(self, slide: Slide) -> str:
        """Return what determines the mask beside the slide and the source's settings.

        Nothing for most; for masks that are read from files, what stands in the file.

        Raises:
            SlideError: If this slide has no mask and cannot get one.
        """
        return ""


class TissueDetector(TissueSource):
    """Tells tissue from glass on a thumbnail."""

    @abstractmethod
    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        """Return which pixels are tissue.

        Args:
            thumbnail: RGB of the whole slide.
            mpp: Microns per thumbnail pixel, None where the slide does not say.
        """

    def tissue(self, slide: Slide) -> TissueMask:
        """Return what the detector sees on a thumbnail of about 8 um per pixel, bounded in size.

        Raises:
            SlideReadError: If the thumbnail cannot be read.
            SlideOpenError: If the slide is a mask or a picture of labels, in a few flat colours.
        """
        info = slide.info
        thumbnail = slide.thumbnail(mask_max_px(info))
        # Slides that are made up for tests and benchmarks are flat on purpose.
        num_colours = 0 if info.reader == "synthetic" else _num_flat_colours(thumbnail)
        if num_colours:
            raise SlideOpenError(
                info.path,
                f"shows nothing but {num_colours} flat colours, as masks and pictures of labels "
                "do; leave it out of the slides",
            )
        scale = max(info.width_l0, info.height_l0) / max(thumbnail.shape[:2])
        mpp = None if info.mpp is None else info.mpp.mean * scale
        mask = self.detect(thumbnail, mpp=mpp)
        return TissueMask(mask, width_l0=info.width_l0, height_l0=info.height_l0)


_LEAST_SHARE, _FLAT_SHARE, _LEAST_CONTRAST = 0.005, 0.95, 60
_MAX_FLAT_COLOURS = 16
_LEAST_PIXELS = 4096
"""Of fewer, each colour is a share of its own."""


def _num_flat_colours(thumbnail: UInt8[np.ndarray, "height width 3"]) -> int:
    """Return how many colours a mask stored as a picture has; 0 for anything that was scanned.

    Tissue has thousands of colours, none of them on much of a slide, and glass a few that are close
    together.
    """
    codes = thumbnail.reshape(-1, 3).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, counts = np.unique(codes, return_counts=True)
    frequent = counts >= _LEAST_SHARE * len(codes)
    if len(codes) < _LEAST_PIXELS or not 2 <= frequent.sum() <= _MAX_FLAT_COLOURS:
        return 0
    if counts[frequent].sum() < _FLAT_SHARE * len(codes):
        return 0
    channels = colours[frequent, None] // np.array([65536, 256, 1]) % 256
    contrast = int((channels.max(axis=0) - channels.min(axis=0)).max())
    return int(frequent.sum()) if contrast >= _LEAST_CONTRAST else 0


def mask_max_px(info: SlideInfo) -> int:
    """Return the longer side of a slide's mask in pixels: 8 um each, and 4096 of them at most."""
    if info.mpp is None:
        return MASK_MAX_PX
    longer_um = max(info.width_l0, info.height_l0) * info.mpp.mean
    return max(1, min(MASK_MAX_PX, math.ceil(longer_um / MASK_MPP)))

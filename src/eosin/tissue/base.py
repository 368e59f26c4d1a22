"""What every tissue detector does, and how a slide gets its mask."""

import math
from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Bool, UInt8

from eosin.backends.base import Slide
from eosin.tissue.mask import TissueMask

MASK_MPP = 8.0
"""Microns per mask pixel: a 256-px patch at 0.25 um/px is 8 pixels wide."""

MASK_MAX_PX = 4096
"""Longer side of a mask at most; on larger slides the mask is coarser than `MASK_MPP`."""


class TissueDetector(ABC):
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


def detect_tissue(slide: Slide, detector: TissueDetector) -> TissueMask:
    """Return the tissue mask of a slide, at about 8 um per pixel and bounded in size.

    Raises:
        SlideReadError: If the thumbnail cannot be read.
    """
    info = slide.info
    longer_l0 = max(info.width_l0, info.height_l0)
    max_px = MASK_MAX_PX
    if info.mpp is not None:
        max_px = min(max_px, math.ceil(longer_l0 * info.mpp.mean / MASK_MPP))
    thumbnail = slide.thumbnail(max_px)
    scale = longer_l0 / max(thumbnail.shape[:2])
    mpp = None if info.mpp is None else info.mpp.mean * scale
    mask = detector.detect(thumbnail, mpp=mpp)
    return TissueMask(mask, width_l0=info.width_l0, height_l0=info.height_l0)

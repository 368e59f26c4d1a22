"""Tissue by saturation with small pieces and holes removed, as CLAM segments slides."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from eosin.errors import ConfigError
from eosin.tissue.base import MASK_MPP, TissueDetector
from eosin.tissue.components import fill_holes, pieces_over

REFERENCE_MPP = 0.25
"""Microns per pixel at which `ref_patch_size` is counted: level 0 of a scan with 40 x."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CLAMTissueDetector(TissueDetector):
    """Call saturated pixels tissue, close gaps, keep large pieces, and only large holes in them.

    Areas count in patches of `ref_patch_size` level-0 pixels, as in CLAM. Thumbnails do not say
    what level 0 was, so these are pixels of 0.25 um here, and 512 of them 128 um: pieces up to 100
    such patches (1.6 mm2) are dropped by default. That is for resections; for biopsies lower `a_t`.
    On a thumbnail without um/px they are counted as if it were at 8 um/px. An area is a number of
    pixels here; CLAM takes that of the polygon through their middles, which is smaller by half the
    length of the outline, so it drops some ragged pieces close to the limit that are kept here.

    Source: Lu et al. 2021, Nature Biomedical Engineering 5, 555 (CLAM), section on segmentation,
    and the parameters that its program documents.
    """

    sthresh: int = 8
    """Saturation (0 to 255) above which a pixel is tissue; for Otsu's threshold, see `use_otsu`."""
    sthresh_up: int = 255
    """Value that passing pixels get; 0 would leave none, so it must be positive."""
    use_otsu: bool = False
    """Whether Otsu's threshold on the saturation replaces `sthresh`."""
    mthresh: int = 7
    """Width of the median filter on the saturation, odd."""
    close: int = 4
    """Width of the square that closes gaps, in thumbnail pixels; 0 for none."""
    a_t: int | float = 100
    """Pieces of tissue up to this area are dropped, in reference patches."""
    a_h: int | float = 16
    """Holes up to this area are filled, in reference patches."""
    max_n_holes: int = 8
    """Of the other holes of a piece, this many of the largest stay."""
    ref_patch_size: int = 512
    """Side of a reference patch in pixels of 0.25 um."""

    def __post_init__(self) -> None:
        if not 0 <= self.sthresh <= 255:
            raise ConfigError(f"sthresh={self.sthresh} must be from 0 to 255")
        if not 1 <= self.sthresh_up <= 255:
            raise ConfigError(f"sthresh_up={self.sthresh_up} must be from 1 to 255")
        if self.mthresh < 1 or self.mthresh % 2 == 0:
            raise ConfigError(f"mthresh={self.mthresh} must be odd and positive")
        for name, value in (
            ("close", self.close),
            ("a_t", self.a_t),
            ("a_h", self.a_h),
            ("max_n_holes", self.max_n_holes),
        ):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name}={value} must be 0 or more")
        if self.ref_patch_size < 1:
            raise ConfigError(f"ref_patch_size={self.ref_patch_size} must be at least 1 px")

    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        saturation = cv2.medianBlur(
            cv2.cvtColor(thumbnail, cv2.COLOR_RGB2HSV)[..., 1], self.mthresh
        )
        kind = cv2.THRESH_BINARY + (cv2.THRESH_OTSU if self.use_otsu else 0)
        _, stained = cv2.threshold(saturation, self.sthresh, self.sthresh_up, kind)
        if self.close > 0:
            square = np.ones((self.close, self.close), np.uint8)
            stained = cv2.morphologyEx(stained, cv2.MORPH_CLOSE, square)
        reference_px = self.ref_patch_size * REFERENCE_MPP / (MASK_MPP if mpp is None else mpp)
        # Whole pixels, and at least one: on coarse thumbnails everything would pass otherwise.
        reference_area = max(1, int(reference_px**2))
        tissue = pieces_over(stained > 0, float(self.a_t * reference_area))
        return fill_holes(tissue, float(self.a_h * reference_area), max_kept=self.max_n_holes)

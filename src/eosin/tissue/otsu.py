"""Tissue by darkness: Otsu's threshold on the grey thumbnail."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from eosin.errors import ConfigError
from eosin.tissue.base import TissueDetector


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OtsuTissueDetector(TissueDetector):
    """Call pixels darker than Otsu's threshold tissue, close gaps and drop specks.

    Otsu always finds two classes, so a slide of nothing but glass gets a mask of its noise.

    Source: Otsu 1979, IEEE Trans. SMC 9(1).
    """

    blur_ksize: int = 7
    """Width of the Gaussian blur before the threshold, odd."""
    morph_close_ksize: int = 5
    """Width of the ellipse that closes gaps afterwards; 1 closes nothing."""
    min_area_ratio: float = 0.001
    """Pieces smaller than this share of the thumbnail are dropped."""

    def __post_init__(self) -> None:
        if self.blur_ksize < 1 or self.blur_ksize % 2 == 0:
            raise ConfigError(f"blur_ksize={self.blur_ksize} must be odd and positive")
        if self.morph_close_ksize < 1:
            raise ConfigError(
                f"morph_close_ksize={self.morph_close_ksize} must be positive; 1 closes nothing"
            )
        if not 0 <= self.min_area_ratio < 1:
            raise ConfigError(f"min_area_ratio={self.min_area_ratio} must be in [0, 1)")

    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        grey = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)
        grey = cv2.GaussianBlur(grey, (self.blur_ksize, self.blur_ksize), 0)
        _, dark = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
        ellipse = cv2.getStructuringElement(
            cv2.MORPH_ELLIPSE, (self.morph_close_ksize, self.morph_close_ksize)
        )
        closed = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, ellipse)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
        keep = stats[:, cv2.CC_STAT_AREA] >= self.min_area_ratio * grey.size
        keep[0] = False  # the component of the background
        return np.asarray(keep[labels], dtype=bool)

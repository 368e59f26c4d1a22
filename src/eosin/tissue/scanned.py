"""What was scanned: all but black borders and areas that a file fills with one colour."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from eosin.errors import ConfigError
from eosin.tissue.base import TissueDetector
from eosin.tissue.components import pieces_at_edge, pieces_over
from eosin.tissue.resolution import at_mask_mpp, enlarge_mask, square

_FLAT_PX = 5


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ScannedAreaDetector(TissueDetector):
    """Call everything tissue but what no camera saw; to be combined with a detector by "and".

    Left out are dark areas that reach the edge of the slide (borders, and the frame around it), and
    areas of exactly one grey (tiles that were never scanned, be they white, grey or black there).
    Glass that is exactly white is left out too, and is no tissue anyway. Dark pigment inside the
    slide stays. Not for fluorescence, which is dark everywhere.
    """

    max_dark: int = 40
    """Areas at the edge are dark up to this value of their brightest channel."""
    min_area_mm2: float = 0.25
    """Areas up to this size stay; the inside of a fat cell may be white."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_dark <= 255:
            raise ConfigError(f"max_dark={self.max_dark} must be from 0 to 255")
        if not 0 <= self.min_area_mm2 < float("inf"):
            raise ConfigError(f"min_area_mm2={self.min_area_mm2} must be 0 or more")

    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        small, small_mpp = at_mask_mpp(thumbnail, mpp)
        red, green, blue = cv2.split(small)
        dark = np.asarray(cv2.max(cv2.max(red, green), blue) <= self.max_dark)
        empty = pieces_at_edge(dark) | _flat_grey(small)
        unseen = pieces_over(empty, self.min_area_mm2 / (small_mpp / 1000) ** 2)
        # Where shrinking mixed a border with its neighbours, the pixels are half dark.
        rim = cv2.dilate((unseen & dark).view(np.uint8), square(3))
        return enlarge_mask(~unseen & (np.asarray(rim) == 0), thumbnail.shape[:2])


def _flat_grey(rgb: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that lie in a square of exactly one grey."""
    window = square(_FLAT_PX)
    channels = cv2.split(rgb)
    least = cv2.erode(cv2.min(cv2.min(channels[0], channels[1]), channels[2]), window)
    most = cv2.dilate(cv2.max(cv2.max(channels[0], channels[1]), channels[2]), window)
    middles = (np.asarray(least) == np.asarray(most)).view(np.uint8)
    return np.asarray(cv2.dilate(middles, window) != 0)

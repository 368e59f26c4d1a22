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
    areas of exactly one colour (tiles that were never scanned, whatever a file or reader puts
    there). Glass that is exactly white is left out too, and is no tissue anyway. Dark pigment
    inside the slide stays. Not for fluorescence, which is dark everywhere.
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
        empty = pieces_at_edge(dark) | _flat(small)
        # Where shrinking mixed such an area with its neighbours, the colour is neither's.
        large = pieces_over(empty, self.min_area_mm2 / (small_mpp / 1000) ** 2)
        unseen = cv2.dilate(large.view(np.uint8), square(3))
        return enlarge_mask(np.asarray(unseen == 0), thumbnail.shape[:2])


def _flat(rgb: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that lie in a square of exactly one colour."""
    window = square(_FLAT_PX)
    varies = cv2.subtract(cv2.dilate(rgb, window), cv2.erode(rgb, window))
    middles = (cv2.transform(varies, np.ones((1, 3), np.float32)) == 0).astype(np.uint8)
    return np.asarray(cv2.dilate(middles, window) != 0)

"""What is not pen: ink that people left on the glass, found by colours that stains do not have."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from eosin.errors import ConfigError
from eosin.tissue.base import TissueDetector
from eosin.tissue.resolution import at_mask_mpp, disc, enlarge_mask, odd_px, square

_INKS = (
    ("red", (0, 120, 50), (7, 255, 255)),
    ("orange", (8, 180, 185), (19, 255, 255)),
    ("yellow", (20, 130, 50), (35, 255, 255)),
    ("green", (35, 40, 30), (95, 255, 255)),
    ("blue", (96, 100, 30), (125, 255, 255)),
    ("crimson", (174, 120, 50), (179, 255, 255)),
)
"""Lowest and highest hue, saturation and value of inks, in OpenCV's 8-bit units."""

_BLACK_MAX_VALUE = 80
_BLACK_MAX_CHROMA = 40


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PenFreeDetector(TissueDetector):
    """Call everything tissue but pen marks; to be combined with a detector by "and".

    Green, blue, red, orange, yellow and black ink is known by ranges of hue and saturation that
    haematoxylin, eosin and DAB do not reach on the slides that were looked at, over an area as wide
    as a pen. Purple ink has the colour of stained tissue and is not found, nor is ink so thin that
    it is as pale as a stain. Not for stains that have these colours themselves, such as Masson's
    trichrome and red chromogens.
    """

    min_width_um: float = 150.0
    """Strokes have at least a square of this side; spots of pigment are smaller."""
    margin_um: float = 100.0
    """How far around the ink its soft rim reaches."""

    def __post_init__(self) -> None:
        for name, value in (("min_width_um", self.min_width_um), ("margin_um", self.margin_um)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name}={value} must be 0 or more microns")

    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        small, small_mpp = at_mask_mpp(thumbnail, mpp)
        # Closed first: cells and dust under the ink make holes in it.
        ink = cv2.morphologyEx(_ink_colours(small), cv2.MORPH_CLOSE, square(5))
        wide = cv2.morphologyEx(ink, cv2.MORPH_OPEN, square(odd_px(self.min_width_um, small_mpp)))
        marked = cv2.dilate(wide, disc(odd_px(2 * self.margin_um, small_mpp)))
        return enlarge_mask(np.asarray(marked == 0), thumbnail.shape[:2])


def _ink_colours(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    red, green, blue = cv2.split(rgb)
    most = cv2.max(cv2.max(red, green), blue)
    chroma = cv2.subtract(most, cv2.min(cv2.min(red, green), blue))
    ink = ((most <= _BLACK_MAX_VALUE) & (chroma <= _BLACK_MAX_CHROMA)).astype(np.uint8)
    for _, low, high in _INKS:
        ink |= np.asarray(cv2.inRange(hsv, low, high), np.uint8)
    return np.asarray(ink != 0).view(np.uint8)

"""Tissue by colour: pixels whose hue, saturation and value lie in the ranges of stained tissue."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from eosin.errors import ConfigError
from eosin.tissue.base import TissueDetector

Range = tuple[int, int]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HSVTissueDetector(TissueDetector):
    """Call a pixel tissue when hue, saturation and value all lie in their ranges, ends included.

    In OpenCV's 8-bit units: hue 0 to 179 (degrees / 2), so (90, 180) is cyan over blue and violet
    to red; saturation and value 0 to 255.

    Source: ranges of Virchow's tile filter (Vorontsov et al. 2024) as used by Midnight.
    """

    hue_range: Range = (90, 180)
    sat_range: Range = (8, 255)
    val_range: Range = (103, 255)

    def __post_init__(self) -> None:
        check_ranges(self.hue_range, self.sat_range, self.val_range)

    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        return in_hsv_ranges(thumbnail, self.hue_range, self.sat_range, self.val_range)


def in_hsv_ranges(
    rgb: UInt8[np.ndarray, "height width 3"], hue: Range, sat: Range, val: Range
) -> Bool[np.ndarray, "height width"]:
    """Return which pixels lie in all three ranges, ends included, in OpenCV's 8-bit units."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    low, high = zip(hue, sat, val, strict=True)
    return np.asarray(cv2.inRange(hsv, low, high) != 0, dtype=bool)


def check_ranges(hue: Range, sat: Range, val: Range) -> None:
    """Refuse ranges that are empty or outside OpenCV's 8-bit units."""
    for name, (low, high), top in (
        ("hue_range", hue, 180),
        ("sat_range", sat, 255),
        ("val_range", val, 255),
    ):
        if not 0 <= low <= high <= top:
            raise ConfigError(f"{name}=({low}, {high}) must be two rising numbers in 0 to {top}")

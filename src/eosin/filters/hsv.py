"""Keep patches of which enough pixels have the colour of stained tissue."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import UInt8

from eosin.errors import ConfigError
from eosin.filters.base import PatchFilter
from eosin.tissue.hsv import Range, check_ranges, in_hsv_ranges


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HSVPatchFilter(PatchFilter):
    """Accept a patch when at least a share of its pixels lies in hue, saturation and value ranges.

    In OpenCV's 8-bit units: hue 0 to 179 (degrees / 2), saturation and value 0 to 255, ends
    included.

    Source: Vorontsov et al. 2024 (Virchow), adopted by Karasikov et al. 2025, arXiv:2504.05186.
    """

    hue_range: Range = (90, 180)
    sat_range: Range = (8, 255)
    val_range: Range = (103, 255)
    min_pixel_fraction: float = 0.6
    """Least share of pixels in all three ranges."""

    def __post_init__(self) -> None:
        check_ranges(self.hue_range, self.sat_range, self.val_range)
        if not 0 <= self.min_pixel_fraction <= 1:
            raise ConfigError(
                f"min_pixel_fraction={self.min_pixel_fraction} must be a share from 0 to 1"
            )

    def accept(self, image: UInt8[np.ndarray, "height width 3"]) -> bool:
        passing = in_hsv_ranges(image, self.hue_range, self.sat_range, self.val_range)
        num_passing = cv2.countNonZero(passing.view(np.uint8))
        # Divided, not multiplied: 0.55 * 100 is more than 55 in floating point.
        return num_passing / passing.size >= self.min_pixel_fraction

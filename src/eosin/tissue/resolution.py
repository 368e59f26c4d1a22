"""Detectors that think in microns: thumbnails at the resolution of masks, and back."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from eosin.tissue.base import MASK_MPP

MAX_PX_WITHOUT_MPP = 1024
"""Longer side of a thumbnail without um/px; its pixels then count as those of a mask."""


def at_mask_mpp(
    rgb: UInt8[np.ndarray, "height width 3"], mpp: float | None
) -> tuple[UInt8[np.ndarray, "_height _width 3"], float]:
    """Return a thumbnail that is no finer than a mask, and its microns per pixel."""
    longer = max(rgb.shape[:2])
    scale = min(1.0, MAX_PX_WITHOUT_MPP / longer if mpp is None else mpp / MASK_MPP)
    if scale == 1:
        return rgb, MASK_MPP if mpp is None else mpp
    size = [max(1, round(side * scale)) for side in (rgb.shape[1], rgb.shape[0])]
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), MASK_MPP if mpp is None else mpp / scale


def enlarge_mask(
    mask: Bool[np.ndarray, "height width"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "_height _width"]:
    """Return a mask brought back to the height and width of its thumbnail."""
    if mask.shape == shape:
        return mask
    grey = mask.view(np.uint8) * 255
    large = cv2.resize(grey, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large >= 128, dtype=bool)


def odd_px(um: float, mpp: float) -> int:
    """Return the odd number of pixels nearest to a length, at least 3."""
    return max(3, 2 * round((um / mpp - 1) / 2) + 1)


def square(side_px: int) -> UInt8[np.ndarray, "side side"]:
    """Return a square structuring element, which OpenCV applies fast at any size."""
    return np.ones((side_px, side_px), np.uint8)


def disc(width_px: int) -> UInt8[np.ndarray, "side side"]:
    """Return a round structuring element, whose time grows with its area."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width_px, width_px)), np.uint8)

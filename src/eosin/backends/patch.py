"""One patch from a slide: read the pixels that a coordinate names, resample them if it says so."""

import cv2
import numpy as np
from jaxtyping import UInt8

from eosin.backends.base import Slide
from eosin.geometry import PatchCoordinate
from eosin.resample import shrink


def read_patch(slide: Slide, coordinate: PatchCoordinate) -> UInt8[np.ndarray, "size size 3"]:
    """Return the RGB pixels of a patch, `coordinate.patch_size` wide and high.

    Averages areas when shrinking and interpolates linearly when enlarging.

    Raises:
        SlideReadError: If the pixels cannot be decoded.
    """
    pixels = slide.read_region(
        coordinate.x,
        coordinate.y,
        coordinate.level,
        coordinate.read_width,
        coordinate.read_height,
    )
    size = coordinate.patch_size
    if pixels.shape[:2] == (size, size):
        return pixels
    shrinks = coordinate.read_width >= size and coordinate.read_height >= size
    if shrinks:
        return shrink(pixels, size, size)
    enlarged = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, dtype=np.uint8)

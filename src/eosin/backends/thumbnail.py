"""The whole of a level, shrunk strip by strip: memory stays small also on files of one level."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from eosin.geometry import Level

_STRIP_PIXELS = 2**24


def thumbnail_size(levels: Sequence[Level], max_px: int) -> tuple[int, int, int]:
    """Return the level to shrink, and width and height of a thumbnail of at most `max_px`.

    The level is the coarsest that need not be enlarged.
    """
    longer = min(max_px, max(levels[0].width, levels[0].height))
    large_enough = [
        number for number, level in enumerate(levels) if max(level.width, level.height) >= longer
    ]
    number = large_enough[-1] if large_enough else 0
    source = levels[number]
    scale = min(1.0, max_px / max(source.width, source.height))
    return number, max(1, round(source.width * scale)), max(1, round(source.height * scale))


def shrink_in_strips(
    read_rows: Callable[[int, int], UInt8[np.ndarray, "_rows _width 3"]],
    *,
    source_width: int,
    source_height: int,
    width: int,
    height: int,
) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image shrunk by area average.

    Args:
        read_rows: Gives rows of the source, from the first up to the second number.
        source_width: Pixels of the source.
        source_height: Pixels of the source.
        width: Pixels of the result.
        height: Pixels of the result.
    """
    rows = max(1, _STRIP_PIXELS * height // (source_width * source_height))
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        first = round(top * source_height / height)
        last = max(first + 1, round(bottom * source_height / height))
        strip = read_rows(first, last)
        out[top:bottom] = cv2.resize(strip, (width, bottom - top), interpolation=cv2.INTER_AREA)
    return out

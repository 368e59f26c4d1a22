"""The whole of a level, shrunk strip by strip: memory stays small also on files of one level."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from eosin.errors import SlideReadError
from eosin.geometry import SlideInfo
from eosin.names import get_logger

logger = get_logger(__name__)

_STRIP_PIXELS = 2**24
_MAX_STRIP_PIXELS = 2**28
"""For one row of a thumbnail: only a level of absurd shape has so many."""

_MAX_PIXELS = 2**30
_MAX_PIXELS_PER_BYTE = 256
"""Of a level, by the length of the file: empty glass as JPEG comes to about 100."""


class ThumbnailSource(NamedTuple):
    """A level, and the size that it is shrunk to."""

    level: int
    width: int
    height: int


def read_thumbnail(
    info: SlideInfo,
    num_bytes: int,
    max_px: int,
    shrink: Callable[[ThumbnailSource], UInt8[np.ndarray, "_height _width 3"]],
) -> UInt8[np.ndarray, "_height _width 3"]:
    """Return the thumbnail of a slide: of the coarsest level that need not be enlarged.

    Where that level is damaged, one of the others gives it, finer ones first; but level 0, which
    may have billions of pixels, only if it is the level of choice. A level that has more pixels
    than a file of this length can hold is damaged as well, and is not read.

    Args:
        info: The slide.
        num_bytes: Length of its file.
        max_px: Longer side of the thumbnail at most.
        shrink: Reads a level and shrinks it.

    Raises:
        SlideReadError: If no level can be read; that of the level of choice.
    """
    levels = info.levels
    longer = min(max_px, max(levels[0].width, levels[0].height))
    large_enough = [n for n, level in enumerate(levels) if max(level.width, level.height) >= longer]
    best = large_enough[-1] if large_enough else 0
    try:
        return shrink(_source(info, best, num_bytes, max_px))
    except SlideReadError as error:
        failure = error
    for other in (*range(best - 1, 0, -1), *range(best + 1, len(levels))):
        try:
            thumbnail = shrink(_source(info, other, num_bytes, max_px))
        except SlideReadError:
            continue
        logger.warning("%s; its tissue is looked for on level %d instead", failure, other)
        return thumbnail
    raise failure


def _source(info: SlideInfo, number: int, num_bytes: int, max_px: int) -> ThumbnailSource:
    level = info.levels[number]
    scale = min(1.0, max_px / max(level.width, level.height))
    width, height = (max(1, round(side * scale)) for side in (level.width, level.height))
    num_pixels = level.width * level.height
    if (
        num_pixels > max(_MAX_PIXELS, _MAX_PIXELS_PER_BYTE * num_bytes)
        or num_pixels // height > _MAX_STRIP_PIXELS
    ):
        raise SlideReadError(
            info.path,
            f"level {number} has {level.width} x {level.height} px in a file of {num_bytes} bytes, "
            "which cannot be; the file is damaged",
        )
    return ThumbnailSource(number, width, height)


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

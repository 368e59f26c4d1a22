"""Which pages of a TIFF are levels of its pyramid, and by how much each is shrunk.

Pages are told by their size, as marks are often missing and sometimes wrong, and by what they show:
a macro picture or a label may have any size. Some writers pad levels to whole tiles, so that a
level's size says another scale than its pixels have.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from eosin.backends.tiles import TileDecoder, TileError

_MAX_SIZE_ERROR_PX, _MAX_SIZE_ERROR = 2.0, 0.015
"""In pixels of the level, and as a share of its side: each writer rounds in its own way."""
_MAX_PADDED = 1025
"""Downsamples that are looked for below it."""
_MAX_REGION_PX = 512
_BLOCK_PX = 64
_MAX_TILES, _MAX_PROBES = 12, 3
_LEAST_SPREAD = 6.0
"""Standard deviation of grey levels from which on there is something to compare."""
_SAME_DIFFERENCE, _SAME_CORRELATION = 15.0, 0.4
"""Mean difference in grey levels, or correlation, of two pictures of one place. Measured on real
slides: below 6 and above 0.9; of a macro or a label: above 25 and below 0.2."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The tiles of one level."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    num_columns: int
    """Tiles in a row; of the padded level where a format pads."""
    offsets: Int[np.ndarray, " tiles"]
    byte_counts: Int[np.ndarray, " tiles"]
    """0 for tiles that were never scanned."""
    misplaced: Bool[np.ndarray, " tiles"]
    """Whether a tile cannot lie where it is said to."""
    decoder: TileDecoder


ReadTile = Callable[[TileGrid, int], UInt8[np.ndarray, "_ _ 3"] | None]
"""Gives a tile of a level by its number; None where it was never scanned or is damaged."""


class LevelFit(NamedTuple):
    """How a level lies over level 0."""

    downsample: float
    width: int
    height: int
    """Without padding."""


def fit_level(
    size_l0: tuple[int, int],
    size: tuple[int, int],
    tile: tuple[int, int],
    *,
    expected: float | None = None,
) -> LevelFit | str:
    """Return how a level of this size lies over level 0, or why it is none.

    Args:
        size_l0: Width and height of level 0.
        size: Width and height of the level, as the file says.
        tile: Width and height of its tiles.
        expected: What the levels before lead one to expect of a padded one, of which several
            downsamples give the same size.
    """
    (width_l0, height_l0), (width, height) = size_l0, size
    if width > width_l0 or height > height_l0:
        return "is larger than level 0"
    average = (width_l0 / width + height_l0 / height) / 2
    if average < 1.5:
        return "is about as large as level 0"

    def is_near(downsample: float, most_px: float) -> bool:
        return all(
            abs(side_l0 / downsample - side) <= min(most_px, max(1.0, _MAX_SIZE_ERROR * side))
            for side_l0, side in zip(size_l0, size, strict=True)
        )

    power = 2.0 ** round(math.log2(average))
    if is_near(power, 1.0):
        return LevelFit(average, width, height)
    padded = [
        float(whole)
        for whole in range(2, _MAX_PADDED)
        if all(
            side % of == 0 and math.ceil(math.ceil(side_l0 / whole) / of) * of == side
            for side_l0, side, of in zip(size_l0, size, tile, strict=True)
        )
    ]
    for likely in ([expected], [one for one in padded if math.log2(one).is_integer()]):
        if len(padded) > 1 and len(likely) == 1 and likely[0] in padded:
            padded = [one for one in padded if one == likely[0]]
    cut = [
        one
        for one in (2.0**exponent for exponent in range(1, 11))
        if all(
            int(side_l0 / one) // of * of == side
            for side_l0, side, of in zip(size_l0, size, tile, strict=True)
        )
    ]
    if cut and expected not in padded:
        return f"has {width} x {height} px, which may be a part of level 0 cut to whole tiles"
    if len(padded) == 1:
        whole = padded[0]
        return LevelFit(whole, int(width_l0 / whole), int(height_l0 / whole))
    if padded:
        return f"is padded to {width} x {height} px, at which it may be any of several scales"
    if is_near(power, _MAX_SIZE_ERROR_PX) or is_near(average, _MAX_SIZE_ERROR_PX):
        return LevelFit(average, width, height)
    return f"has {width} x {height} px, another shape than level 0"


def shows_the_same(finer: TileGrid, coarser: TileGrid, ratio: float, read_tile: ReadTile) -> bool:
    """Return whether a level shows what the one before it shows, at places that are not blank.

    Args:
        finer: The level before.
        coarser: The level.
        ratio: How much smaller its pixels are.
        read_tile: Gives tiles.
    """
    tile_sides = (coarser.tile_width, coarser.tile_height)
    # A whole number of steps of four pixels.
    block = max(8, min(_BLOCK_PX, int(_MAX_REGION_PX / ratio), *tile_sides) // 4 * 4)
    scanned = np.flatnonzero(coarser.byte_counts)
    places = scanned[np.linspace(0, len(scanned) - 1, min(_MAX_TILES, len(scanned))).astype(int)]
    verdicts: list[bool] = []
    for number in dict.fromkeys(places.tolist()):
        tile = read_tile(coarser, number)
        if tile is None:
            continue
        left = number % coarser.num_columns * coarser.tile_width
        top = number // coarser.num_columns * coarser.tile_height
        inside = tile[: max(0, coarser.height - top), : max(0, coarser.width - left)]
        found = _busiest(inside, block)
        if found is None:
            continue
        x, y = found
        there = _region(finer, (left + x) * ratio, (top + y) * ratio, block * ratio, read_tile)
        if there is not None:
            here = inside[y : y + block, x : x + block]
            verdicts.append(
                _is_same(here, cv2.resize(there, (block, block), interpolation=cv2.INTER_AREA))
            )
        if len(verdicts) == _MAX_PROBES:
            break
    return not verdicts or 2 * sum(verdicts) >= len(verdicts)


def _busiest(tile: UInt8[np.ndarray, "height width 3"], block: int) -> tuple[int, int] | None:
    """Return the block of a tile in which there is most to see, None where it is blank."""
    rows, columns = tile.shape[0] // block, tile.shape[1] // block
    if not rows or not columns:
        return None
    # Every fourth pixel of green, in which stains differ most, is enough to find it.
    green = tile[: rows * block : 4, : columns * block : 4, 1].astype(np.float32)
    spread = green.reshape(rows, -1, columns, green.shape[1] // columns).std(axis=(1, 3))
    row, column = divmod(int(spread.argmax()), columns)
    return None if spread[row, column] < _LEAST_SPREAD else (column * block, row * block)


def _region(
    grid: TileGrid, x: float, y: float, side: float, read_tile: ReadTile
) -> UInt8[np.ndarray, "side side 3"] | None:
    left, top, size = round(x), round(y), max(1, round(side))
    right, bottom = min(left + size, grid.width), min(top + size, grid.height)
    if right - left < size / 2 or bottom - top < size / 2:
        return None
    region = np.full((bottom - top, right - left, 3), 255, np.uint8)
    for row in range(top // grid.tile_height, -(-bottom // grid.tile_height)):
        for column in range(left // grid.tile_width, -(-right // grid.tile_width)):
            tile = read_tile(grid, row * grid.num_columns + column)
            if tile is None:
                return None
            y0, x0 = row * grid.tile_height, column * grid.tile_width
            first_y, first_x = max(top, y0), max(left, x0)
            last_y, last_x = min(bottom, y0 + tile.shape[0]), min(right, x0 + tile.shape[1])
            region[first_y - top : last_y - top, first_x - left : last_x - left] = tile[
                first_y - y0 : last_y - y0, first_x - x0 : last_x - x0
            ]
    return region


def _is_same(
    one: UInt8[np.ndarray, "side side 3"], other: UInt8[np.ndarray, "side side 3"]
) -> bool:
    a, b = (cv2.GaussianBlur(x.astype(np.float32), (0, 0), 2.0) for x in (one, other))
    if float(np.abs(a - b).mean()) < _SAME_DIFFERENCE:
        return True
    a, b = a.mean(axis=2), b.mean(axis=2)
    spread = float(a.std() * b.std())
    correlation = float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread else 0.0
    return correlation > _SAME_CORRELATION


def same_levels(
    grids: Sequence[TileGrid], downsamples: Sequence[float], read_tile: ReadTile, num_bytes: int
) -> list[bool]:
    """Return of each level whether it shows what level 0 shows; looked at once in a process.

    Args:
        grids: Of the levels, the finest first.
        downsamples: Of the levels.
        read_tile: Gives tiles.
        num_bytes: Of the file, which with the places of all tiles tells it from others.
    """
    places = zlib.crc32(b"".join(grid.offsets.tobytes() for grid in grids))
    key = (num_bytes, places, len(grids))
    known = _KNOWN.get(key)
    if known is None:
        known = [True]
        for number in range(1, len(grids)):
            # Compared with the last one that is a level, not with what was left out.
            before = max(i for i in range(number) if known[i])
            ratio = downsamples[number] / downsamples[before]
            known.append(shows_the_same(grids[before], grids[number], ratio, read_tile))
        if len(_KNOWN) >= _MAX_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = known
    return known


_KNOWN: dict[tuple[int, int, int], list[bool]] = {}
_MAX_KNOWN = 20_000


def tile_reader(read: Callable[[int, int], bytes]) -> ReadTile:
    """Return what gives decoded tiles, from what gives bytes at an offset."""

    def read_tile(grid: TileGrid, number: int) -> UInt8[np.ndarray, "height width 3"] | None:
        num_bytes = int(grid.byte_counts[number])
        if num_bytes == 0 or grid.misplaced[number]:
            return None
        try:
            return grid.decoder.decode(read(int(grid.offsets[number]), num_bytes), -1).copy()
        except TileError:
            return None

    return read_tile

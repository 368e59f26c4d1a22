"""Slides straight from their TIFF tiles: the file is parsed once, then only tiles are read.

Gives the bits that OpenSlide gives at level 0 and at whole downsamples. At levels such as 3.9996
OpenSlide moves tiles by a part of a pixel, which blurs; here a level's pixels are its own.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import tifffile
from jaxtyping import UInt8

from eosin.backends.base import Slide, SlideBackend
from eosin.backends.files import source_fingerprint
from eosin.backends.mpp import MppPolicy
from eosin.backends.source import ByteSource, open_source
from eosin.backends.thumbnail import ThumbnailSource, read_thumbnail, shrink_in_strips
from eosin.backends.tiff_layout import (
    NotClaimedError,
    RefusedError,
    TiffLayout,
    parse_layout,
)
from eosin.backends.tiff_levels import TileGrid
from eosin.backends.tile_cache import SHARED_CACHE, SOUND_TILES
from eosin.backends.tiles import TileError
from eosin.errors import MissingDependencyError, SlideOpenError, SlideReadError
from eosin.geometry import Level, SlideInfo

_TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NO_TIFF = "is no TIFF"

_MAX_TILE_BYTES = 2**28
_HANDLES = itertools.count()


class UnclaimedSlideError(SlideOpenError):
    """The direct reader leaves the file to another; it is not known to be bad."""

    num_levels = 0
    """That the other must find, where that is known."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TiffBackend(SlideBackend):
    """Open tiled RGB TIFFs: Aperio SVS, OME, Philips, and generic pyramids.

    Takes URLs such as `s3://bucket/a.svs` as well, where fsspec is installed.
    """

    mpp: MppPolicy = field(default_factory=MppPolicy)

    def open(self, path: Path | str) -> Slide:
        return TiffSlide(str(path), self.mpp)


@final
class TiffSlide(Slide):
    """A TIFF whose tiles are read one by one."""

    def __init__(self, path: str, policy: MppPolicy) -> None:
        self._path = path
        try:
            source = open_source(path)
            self._layout = _parse(path, source)
            fingerprint = source_fingerprint(source)
        except (OSError, ValueError, MissingDependencyError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SlideOpenError(path, f"cannot be opened ({reason})") from error
        self._info = _describe(path, self._layout, policy, fingerprint)
        self._num_bytes = source.size
        self._source: ByteSource | None = source
        """None after closing."""
        self._handle = next(_HANDLES)

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        finest, known = self._info.levels[0], self._info.levels[level]
        left = _nearest_pixel(x, width, known.downsample, finest.width, known.width)
        top = _nearest_pixel(y, height, known.downsample, finest.height, known.height)
        return self._assemble(level, left, top, width, height)

    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        return read_thumbnail(self._info, self._num_bytes, max_px, self._shrink)

    def _shrink(self, source: ThumbnailSource) -> UInt8[np.ndarray, "height width 3"]:
        level, width, height = source
        grid = self._layout.levels[level]
        factor = _decoder_factor(grid, min(grid.width // width, grid.height // height))
        source_width, source_height = grid.width // factor, grid.height // factor
        return shrink_in_strips(
            lambda first, last: self._assemble(
                level, 0, first, source_width, last - first, factor=factor
            ),
            source_width=source_width,
            source_height=source_height,
            width=width,
            height=height,
        )

    def close(self) -> None:
        self._source = None
        SHARED_CACHE.forget(self._handle)

    def _assemble(
        self, level: int, left: int, top: int, width: int, height: int, *, factor: int = 1
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Return pixels of a level, or of one shrunk by `factor`, in its own pixels."""
        source = self._source
        if source is None:
            raise SlideReadError(self._path, "the slide was closed; open it again")
        grid = self._layout.levels[level]
        out = np.empty((height, width, 3), np.uint8)
        right = min(left + width, grid.width // factor)
        bottom = min(top + height, grid.height // factor)
        if left < 0 or top < 0 or right < left + width or bottom < top + height:
            out[:] = self._info.background
        if right <= left or bottom <= top:
            return out
        tile_width, tile_height = grid.tile_width // factor, grid.tile_height // factor
        for row in range(max(0, top) // tile_height, -(-bottom // tile_height)):
            row_top = row * tile_height
            first, last = max(top, row_top), min(bottom, row_top + tile_height)
            for column in range(max(0, left) // tile_width, -(-right // tile_width)):
                column_left = column * tile_width
                begin, end = max(left, column_left), min(right, column_left + tile_width)
                tile = self._tile(source, level, row * grid.num_columns + column,
                                  last - row_top, factor)  # fmt: skip
                target = out[first - top : last - top, begin - left : end - left]
                if tile is None:
                    target[:] = self._info.background
                else:
                    target[:] = tile[first - row_top : last - row_top,
                                     begin - column_left : end - column_left]  # fmt: skip
        return out

    def _tile(
        self, source: ByteSource, level: int, number: int, num_rows: int, factor: int
    ) -> UInt8[np.ndarray, "_rows _width 3"] | None:
        """Return a tile with at least its first rows; None where nothing was scanned."""
        grid = self._layout.levels[level]
        if grid.byte_counts[number] == 0:
            return None
        key = (self._handle, level, number)
        if factor == 1:
            cached = SHARED_CACHE.get(key, num_rows)
            if cached is not None:
                return cached
        data = self._tile_bytes(source, level, number)
        is_sound = SOUND_TILES.has(source.version, level, number)
        try:
            if factor > 1:
                tile = grid.decoder.decode_reduced(data, factor)
            else:
                tile = grid.decoder.decode(data, num_rows if is_sound else -1)
        except TileError as error:
            raise SlideReadError(self._path, f"tile {number} of level {level}: {error}") from error
        if not is_sound:
            SOUND_TILES.add(source.version, level, number)
        if factor == 1 and SHARED_CACHE.wants(key):
            tile = tile.copy()
            SHARED_CACHE.put(key, tile)
        return tile

    def _tile_bytes(self, source: ByteSource, level: int, number: int) -> bytes:
        grid = self._layout.levels[level]
        num_bytes = int(grid.byte_counts[number])
        name = f"tile {number} of level {level}"
        # Only this region's fault, and no reason to ask for the memory.
        if not 0 < num_bytes <= min(_MAX_TILE_BYTES, source.size):
            raise SlideReadError(self._path, f"{name} has {num_bytes} bytes, which cannot be")
        if grid.misplaced[number]:
            raise SlideReadError(
                self._path, f"{name} lies in the file's header, or another begins inside it"
            )
        try:
            data = source.read_at(int(grid.offsets[number]), num_bytes)
        except OSError as error:
            raise SlideReadError(
                self._path, f"cannot be read ({error.strerror or error})"
            ) from error
        if len(data) < num_bytes:
            raise SlideReadError(self._path, f"ends in the middle of {name}")
        return data


def _parse(path: str, source: ByteSource) -> TiffLayout:
    if source.read_at(0, 4) not in _TIFF_MAGICS:
        raise UnclaimedSlideError(path, NO_TIFF)
    try:
        with source.as_file() as file, tifffile.TiffFile(file) as tiff:
            layout = parse_layout(tiff)
    except NotClaimedError as error:
        unclaimed = UnclaimedSlideError(path, str(error))
        unclaimed.num_levels = error.num_levels
        raise unclaimed from error
    except RefusedError as error:
        raise SlideOpenError(path, str(error)) from error
    except OSError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in its headers
        raise UnclaimedSlideError(path, f"is no readable TIFF ({error})") from error
    return layout


def refuse_for_every_reader(path: str) -> None:
    """Refuse a TIFF that no reader may take: one without colours, or with impossible headers.

    Raises:
        SlideOpenError: If it is one. A file that is merely left to others passes.
    """
    try:
        _parse(path, open_source(path))
    except UnclaimedSlideError:
        return


def _describe(path: str, layout: TiffLayout, policy: MppPolicy, fingerprint: str) -> SlideInfo:
    finest = layout.levels[0]
    decided = policy.decide(
        path,
        layout.mpp_hints,
        layout.objective_power,
        vendor=layout.vendor,
        size_l0=(finest.width, finest.height),
    )
    return SlideInfo(
        path=path,
        width_l0=finest.width,
        height_l0=finest.height,
        levels=tuple(
            Level(width=grid.width, height=grid.height, downsample=downsample)
            for grid, downsample in zip(layout.levels, layout.downsamples, strict=True)
        ),
        mpp=decided.mpp,
        mpp_source=decided.source,
        notes=(*layout.notes, *decided.notes),
        vendor=layout.vendor,
        fingerprint=fingerprint,
        reader="tiff",
        codec=layout.codec,
        has_icc_profile=layout.has_icc_profile,
    )


def _nearest_pixel(at_l0: int, num: int, downsample: float, size_l0: int, size: int) -> int:
    """Return the pixel of a level nearest to one of level 0, along one axis.

    A region that lies inside level 0 stays inside the level, which may be half a pixel shorter.
    """
    nearest = round(at_l0 / downsample)
    is_inside = at_l0 >= 0 and at_l0 + num * downsample <= size_l0
    return max(0, min(nearest, size - num)) if is_inside else nearest


def _decoder_factor(grid: TileGrid, shrink: int) -> int:
    """Return how far tiles may be shrunk while they are decoded: what is left is averaged."""
    for factor in (8, 4, 2):
        if shrink >= factor and grid.tile_width % factor == 0 and grid.tile_height % factor == 0:
            return factor
    return 1

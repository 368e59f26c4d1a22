"""A slide without a file whose pixels say where they are, to prove geometry to the pixel.

Its thumbnail is another matter: there, tissue is violet inside `tissue_box` and glass is white.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Int, UInt8

from eosin.backends.base import Slide, SlideBackend
from eosin.errors import SlideOpenError, SlideReadError
from eosin.geometry import Level, Mpp, SlideInfo
from eosin.plain import fingerprint

_TISSUE_RGB = (150, 90, 180)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticBackend(SlideBackend):
    """Open any path as a slide of this size; the coordinates of a pixel are its colour."""

    width_l0: int = 4000
    height_l0: int = 3000
    downsamples: tuple[float, ...] = (1.0, 4.0)
    mpp: float | None = 0.25
    mpp_y: float | None = None
    """Of the vertical axis when it differs."""
    tissue_box: tuple[float, float, float, float] = (0.25, 0.25, 0.75, 0.75)
    """Left, top, right and bottom of the tissue, as shares of the slide."""
    failing: frozenset[str] = frozenset()
    """Paths that fail to open."""
    unreadable: frozenset[str] = frozenset()
    """Paths that open, and then fail to read."""

    def open(self, path: Path | str) -> Slide:
        if str(path) in self.failing:
            raise SlideOpenError(path, "was made to fail")
        return SyntheticSlide(str(path), self)


@final
class SyntheticSlide(Slide):
    """An open synthetic slide."""

    def __init__(self, path: str, settings: SyntheticBackend) -> None:
        self._settings = settings
        self._is_open = True
        mpp = settings.mpp
        levels = (
            Level(
                width=int(settings.width_l0 / downsample),
                height=int(settings.height_l0 / downsample),
                downsample=downsample,
            )
            for downsample in settings.downsamples
        )
        self._info = SlideInfo(
            path=path,
            width_l0=settings.width_l0,
            height_l0=settings.height_l0,
            levels=tuple(levels),
            mpp=None if mpp is None else Mpp(mpp, settings.mpp_y or mpp),
            mpp_source="does not say its microns per pixel" if mpp is None else "made so",
            vendor="synthetic",
            reader="synthetic",
            codec="none",
            fingerprint=fingerprint([path.rsplit("/", 1)[-1], settings.width_l0]),
        )

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        self._check_open()
        if self._info.path in self._settings.unreadable:
            raise SlideReadError(self._info.path, "was made to fail")
        downsample = self._info.levels[level].downsample
        columns = np.floor(x + np.arange(width) * downsample).astype(np.int64)
        rows = np.floor(y + np.arange(height) * downsample).astype(np.int64)
        pixels = encode_coordinates(*np.meshgrid(columns, rows))
        inside_x = (columns >= 0) & (columns < self._info.width_l0)
        inside_y = (rows >= 0) & (rows < self._info.height_l0)
        pixels[~(inside_y[:, None] & inside_x[None, :])] = self._info.background
        return pixels

    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        self._check_open()
        longer = max(self._info.width_l0, self._info.height_l0)
        scale = min(1.0, max_px / longer)
        width = max(1, round(self._info.width_l0 * scale))
        height = max(1, round(self._info.height_l0 * scale))
        image = np.full((height, width, 3), 255, np.uint8)
        left, top, right, bottom = self._settings.tissue_box
        box = np.s_[round(top * height) : round(bottom * height)]
        image[box, round(left * width) : round(right * width)] = _TISSUE_RGB
        return image

    def close(self) -> None:
        self._is_open = False

    def _check_open(self) -> None:
        if not self._is_open:
            raise SlideReadError(self._info.path, "the slide was closed; open it again")


def encode_coordinates(
    x: Int[np.ndarray, "height width"], y: Int[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return colours that hold the lower 12 bits of both level-0 coordinates."""
    high = (x >> 8 & 15) << 4 | (y >> 8 & 15)
    return np.stack([x & 255, y & 255, high], axis=-1).astype(np.uint8)


def decode_coordinates(
    pixels: UInt8[np.ndarray, "height width 3"],
) -> tuple[Int[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """Return x and y (lower 12 bits, level-0 pixels) that the colours hold."""
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    return red | (blue >> 4) << 8, green | (blue & 15) << 8

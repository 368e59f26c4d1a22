"""Tissue that is hardly stained or mostly fat: what has a texture or colour that glass has not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from eosin.errors import ConfigError
from eosin.tissue.base import TissueDetector
from eosin.tissue.components import fill_holes, pieces_over
from eosin.tissue.resolution import at_mask_mpp, disc, enlarge_mask, odd_px, square

_GLASS_MAX_CONTRAST = 2.0
_GLASS_MIN_GREY = 150
_WHITE = 254
_GLASS_MIN_SHARE = 0.005

_GRAIN_PX = 7
"""Width over which a thumbnail is smoothed to find glass under grain, of which eight grey levels
come to one."""
_MIN_GRAIN = 1.25
_GRAIN_QUANTILE = 0.1
"""All but so much of the glass has at least that contrast where there is grain. On the scanners
that were looked at this quantile is at most 0.7, so that nothing is smoothed; and where pale tissue
is flat when smoothed, the glass beside it is clean."""
_DIM_MIN_GREY = 100
_DIM_MIN_SHARE = 0.15
_DIM_MAX_CHROMA = 24
_DIM_MIN_MM2 = 1.0
"""Of glass under grain or in dim light, and of pictures in which it is looked for: in a small cut
of tissue, what is pale and smooth would pass for it."""

_Look = tuple[
    Sequence[UInt8[np.ndarray, "height width"]],
    UInt8[np.ndarray, "height width"],
    Float[np.ndarray, "height width"],
]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FaintTissueDetector(TissueDetector):
    """Call tissue what differs from glass in texture or in colour, however bright it is.

    Glass is flat: over 40 um its grey varies by less than 2 of 256 levels on the scanners that were
    looked at, while pale eosin, mucin and the membranes of fat vary by more. Colour is counted from
    the slide's own glass, so that a tint of the lamp is none, and neither is grey shading. Then the
    gaps between membranes are closed, thin lines (edges of cover slips and of scanned areas) and
    specks are dropped, and small holes filled.

    Works at 8 um per pixel: finer thumbnails are shrunk first, and ones without um/px to 1024
    pixels, which are then taken as 8 um each. Pen is coloured, and so is tissue here; exclude it
    with a `PenFreeDetector`.
    """

    min_contrast: float = 2.0
    """Least standard deviation of the darkest channel in a window, in grey levels of 256."""
    min_chroma: float = 8.0
    """Least difference between two channels, each counted from the glass, in levels of 256."""
    window_um: float = 40.0
    """Side of the square in which texture is measured."""
    close_um: float = 72.0
    """Gaps up to this width are closed. A fat cell is 50 to 100 um wide, and the windows at its
    rim already reach 20 um into it."""
    min_piece_mm2: float = 0.02
    """Pieces up to this area are dropped."""
    max_hole_mm2: float = 0.05
    """Holes up to this area are filled."""

    def __post_init__(self) -> None:
        for name, value in (("min_contrast", self.min_contrast), ("min_chroma", self.min_chroma)):
            if not 0 < value < 256:
                raise ConfigError(f"{name}={value} must be between 0 and 256 grey levels")
        for name, value in (
            ("window_um", self.window_um),
            ("close_um", self.close_um),
            ("min_piece_mm2", self.min_piece_mm2),
            ("max_hole_mm2", self.max_hole_mm2),
        ):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name}={value} must be 0 or more")

    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        small, small_mpp = at_mask_mpp(thumbnail, mpp)
        return enlarge_mask(self._detect_at(small, small_mpp), thumbnail.shape[:2])

    def _detect_at(
        self, rgb: UInt8[np.ndarray, "height width 3"], mpp: float
    ) -> Bool[np.ndarray, "height width"]:
        window_px = odd_px(self.window_um, mpp)
        mm2_per_px = (mpp / 1000) ** 2
        channels, darkest, contrast = _look(rgb, window_px)
        glass = _glass_colour(channels, darkest, contrast)
        if darkest.size * mm2_per_px >= _DIM_MIN_MM2:
            smooth = _look(cv2.blur(rgb, (_GRAIN_PX, _GRAIN_PX)), window_px)
            dim = _dim_glass(*smooth)
            is_dim = glass is None and (darkest >= _WHITE).mean() < _GLASS_MIN_SHARE
            if dim.mean() >= _DIM_MIN_SHARE and (
                is_dim or np.quantile(contrast[dim], _GRAIN_QUANTILE) >= _MIN_GRAIN
            ):
                channels, darkest, contrast = smooth
                glass = _mode(channels, dim)
        glass = glass or (255, 255, 255)
        stained = (_chroma(channels, glass) >= self.min_chroma).view(np.uint8)
        coloured = cv2.morphologyEx(stained, cv2.MORPH_OPEN, square(3))
        textured = (contrast >= self.min_contrast).view(np.uint8)
        closed = cv2.morphologyEx(textured, cv2.MORPH_CLOSE, disc(odd_px(self.close_um, mpp)))
        # A window sees an edge from half its width away, and so makes a line as wide as itself.
        # Beyond the thumbnail there is none: at its rim lines are as thin as elsewhere.
        meant = cv2.erode(closed, square(window_px), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        wide = cv2.morphologyEx(meant, cv2.MORPH_OPEN, square(window_px))
        found = np.asarray(wide != 0) | np.asarray(coloured != 0)
        pieces = pieces_over(found, self.min_piece_mm2 / mm2_per_px)
        return fill_holes(pieces, self.max_hole_mm2 / mm2_per_px)


def local_contrast(
    grey: UInt8[np.ndarray, "height width"], window_px: int
) -> Float[np.ndarray, "height width"]:
    """Return the standard deviation of grey in a square around each pixel."""
    size = (window_px, window_px)
    mean = cv2.blur(grey.astype(np.float32), size)
    # In single precision flat bright grey comes out as 0.1 levels at most, which is no contrast.
    square_mean = cv2.sqrBoxFilter(grey, cv2.CV_32F, size, normalize=True)
    return np.asarray(np.sqrt(np.maximum(square_mean - mean * mean, 0)))


def _look(rgb: UInt8[np.ndarray, "height width 3"], window_px: int) -> _Look:
    """Return the channels, the darkest of them, and its contrast."""
    channels = cv2.split(rgb)
    darkest = cv2.min(cv2.min(channels[0], channels[1]), channels[2])
    return channels, darkest, local_contrast(darkest, window_px)


def _glass_colour(
    channels: Sequence[UInt8[np.ndarray, "height width"]],
    darkest: UInt8[np.ndarray, "height width"],
    contrast: Float[np.ndarray, "height width"],
) -> tuple[int, int, int] | None:
    """Return the most frequent colour of flat bright pixels, None where there are few.

    Exactly white pixels are left out: they may never have been scanned, while the glass beside them
    has a tint. Where glass itself is white, few others are flat.
    """
    flat = (contrast < _GLASS_MAX_CONTRAST) & (darkest >= _GLASS_MIN_GREY) & (darkest < _WHITE)
    return _mode(channels, flat) if flat.mean() >= _GLASS_MIN_SHARE else None


def _dim_glass(
    channels: Sequence[UInt8[np.ndarray, "height width"]],
    darkest: UInt8[np.ndarray, "height width"],
    contrast: Float[np.ndarray, "height width"],
) -> Bool[np.ndarray, "height width"]:
    """Return which pixels are flat and nearly grey, in any light."""
    most = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    is_grey = np.asarray(cv2.subtract(most, darkest)) <= _DIM_MAX_CHROMA
    return np.asarray((contrast < _GLASS_MAX_CONTRAST) & (darkest >= _DIM_MIN_GREY) & is_grey)


def _mode(
    channels: Sequence[UInt8[np.ndarray, "height width"]], where: Bool[np.ndarray, "height width"]
) -> tuple[int, int, int]:
    """Return the most frequent value of each channel."""
    red, green, blue = (
        int(cv2.calcHist([channel], [0], where.view(np.uint8), [256], [0, 256]).argmax())
        for channel in channels
    )
    return red, green, blue


def _chroma(
    channels: Sequence[UInt8[np.ndarray, "height width"]], glass: tuple[int, int, int]
) -> UInt8[np.ndarray, "height width"]:
    """Return how much more of one channel than of another is missing from the glass."""
    below = [
        cv2.subtract(np.full_like(channel, level), channel)
        for level, channel in zip(glass, channels, strict=True)
    ]
    most = cv2.max(cv2.max(below[0], below[1]), below[2])
    least = cv2.min(cv2.min(below[0], below[1]), below[2])
    return np.asarray(cv2.blur(cv2.subtract(most, least), (3, 3)))

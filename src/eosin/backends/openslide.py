"""Slides through the OpenSlide library: every vendor format, the reference for other readers."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import cv2
import numpy as np
import openslide
from jaxtyping import UInt8
from PIL import Image

from eosin.backends.base import Slide, SlideBackend
from eosin.backends.files import file_fingerprint
from eosin.errors import ConfigError, SlideOpenError, SlideReadError
from eosin.geometry import Level, Mpp, SlideInfo

SANE_MPP = (0.05, 20.0)
"""Microns per level-0 pixel that a microscope slide can have; other values are errors in files."""

_CACHE_BYTES = 8 * 2**20
_STRIP_PIXELS = 2**24


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSlideBackend(SlideBackend):
    """Open slides with OpenSlide."""

    mpp_overrides: Mapping[str, float] = field(default_factory=dict)
    """Microns per level-0 pixel by file name or full path; goes before what the file says."""

    def __post_init__(self) -> None:
        for name, mpp in self.mpp_overrides.items():
            if not SANE_MPP[0] <= mpp <= SANE_MPP[1]:
                raise ConfigError(
                    f"mpp_overrides[{name!r}]={mpp} is outside {SANE_MPP[0]} to {SANE_MPP[1]} um/px"
                )

    def open(self, path: Path | str) -> Slide:
        return OpenSlideSlide(Path(path), self._override(Path(path)))

    def _override(self, path: Path) -> float | None:
        return self.mpp_overrides.get(str(path), self.mpp_overrides.get(path.name))


@final
class OpenSlideSlide(Slide):
    """A slide that OpenSlide has open.

    OpenSlide latches: after one failed read every later read of a handle fails. So a failed read is
    tried once more on a handle of its own, which alone decides: another thread's failure on the
    shared handle must not make this region unreadable. Handles close with their last reader.
    """

    def __init__(self, path: Path, mpp_override: float | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            handle = _open_handle(path)
            self._info = _describe(path, handle, mpp_override)
        except (openslide.OpenSlideError, OSError, UnicodeDecodeError) as error:
            raise SlideOpenError(path, _why_not(path, error)) from error
        self._handle: openslide.OpenSlide | None = handle
        """The shared one; None after closing."""

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        image = self._retry_once(lambda handle: handle.read_region((x, y), level, (width, height)))
        return _over_background(np.asarray(image), self._info.background)

    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        longer = max(self._info.width_l0, self._info.height_l0)
        level = self._coarsest_level_of(min(max_px, longer))
        source = self._info.levels[level]
        scale = min(1.0, max_px / max(source.width, source.height))
        size = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
        return self._read_shrunk(level, size)

    def close(self) -> None:
        with self._lock:
            self._handle = None

    def _coarsest_level_of(self, px: int) -> int:
        large_enough = [
            index
            for index, level in enumerate(self._info.levels)
            if max(level.width, level.height) >= px
        ]
        return large_enough[-1] if large_enough else 0

    def _read_shrunk(
        self, level: int, size: tuple[int, int]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Read a whole level in strips, so that memory stays small on a file with one level."""
        width, height = size
        source = self._info.levels[level]
        rows = max(1, _STRIP_PIXELS * height // (source.width * source.height))
        out = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            first = round(top * source.height / height)
            last = round(bottom * source.height / height)
            y_l0 = round(first * source.downsample)
            strip = self.read_region(0, y_l0, level, source.width, last - first)
            out[top:bottom] = cv2.resize(strip, (width, bottom - top), interpolation=cv2.INTER_AREA)
        return out

    def _retry_once(self, read: Callable[[openslide.OpenSlide], Image.Image]) -> Image.Image:
        shared = self._handle
        if shared is None:
            raise SlideReadError(self._path, "the slide was closed; open it again")
        try:
            return read(shared)
        except openslide.OpenSlideError:
            own = self._open_again()
        try:
            image = read(own)
        except openslide.OpenSlideError as error:
            raise SlideReadError(self._path, f"OpenSlide cannot read a region: {error}") from error
        with self._lock:
            if self._handle is shared:
                self._handle = own
        return image

    def _open_again(self) -> openslide.OpenSlide:
        try:
            return _open_handle(self._path)
        except (openslide.OpenSlideError, OSError) as error:
            raise SlideReadError(self._path, _why_not(self._path, error)) from error


def _open_handle(path: Path) -> openslide.OpenSlide:
    handle = openslide.OpenSlide(path)
    # The default of 32 MiB a slide adds up, and random places hardly ever hit a cache.
    handle.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
    return handle


def _why_not(path: Path, error: Exception) -> str:
    if not path.exists():
        return "does not exist"
    if path.is_file() and path.stat().st_size == 0:
        return "is empty (0 bytes); copy or download it again"
    if isinstance(error, openslide.OpenSlideUnsupportedFormatError):
        return "is not a slide that OpenSlide can read"
    return f"cannot be opened by OpenSlide ({error})"


def _describe(path: Path, handle: openslide.OpenSlide, mpp_override: float | None) -> SlideInfo:
    mpp, source = _read_mpp(handle.properties, mpp_override)
    width, height = handle.dimensions
    sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
    return SlideInfo(
        path=str(path),
        width_l0=width,
        height_l0=height,
        levels=tuple(Level(width=w, height=h, downsample=float(d)) for (w, h), d in sizes),
        mpp=mpp,
        mpp_source=source,
        vendor=handle.properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        background=_read_background(handle.properties),
        fingerprint=file_fingerprint(path),
        reader="openslide",
        codec="unknown",
        has_icc_profile="openslide.icc-size" in handle.properties,
        bounds_l0=_read_bounds(handle.properties),
    )


def _read_mpp(properties: Mapping[str, str], override: float | None) -> tuple[Mpp | None, str]:
    if override is not None:
        return Mpp(override, override), "override"
    texts = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    if None in texts:
        return None, "does not say its microns per pixel"
    try:
        mpp = Mpp(*(float(text or "nan") for text in texts))
    except ValueError:
        return None, f"says {texts} microns per pixel, which are no numbers"
    if not all(SANE_MPP[0] <= value <= SANE_MPP[1] for value in mpp):
        return None, f"says {mpp.x:g} x {mpp.y:g} microns per pixel, which no slide has"
    return mpp, "openslide.mpp-x/y"


def _read_background(properties: Mapping[str, str]) -> tuple[int, int, int]:
    text = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "FFFFFF")
    try:
        red, green, blue = bytes.fromhex(text)
    except ValueError:
        return 255, 255, 255
    return red, green, blue


def _read_bounds(properties: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    names = ("x", "y", "width", "height")
    texts = [properties.get(f"openslide.bounds-{name}") for name in names]
    if not all(text is not None and text.isdigit() for text in texts):
        return None
    left, top, width, height = (int(text or 0) for text in texts)
    return left, top, width, height


def _over_background(
    rgba: UInt8[np.ndarray, "height width 4"], background: tuple[int, int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay pixels over the background by alpha; OpenSlide leaves unscanned ones transparent."""
    rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    alpha = rgba[:, :, 3]
    if alpha.min() == 255:
        return np.asarray(rgb, dtype=np.uint8)
    share = alpha[:, :, None].astype(np.float32) / 255
    mixed = rgb * share + np.asarray(background, np.float32) * (1 - share)
    return np.rint(mixed).astype(np.uint8)

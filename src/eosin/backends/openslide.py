"""Slides through the OpenSlide library: every vendor format, the reference for other readers."""

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
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
from eosin.backends.mpp import DecidedMpp, MppHint, MppPolicy, microns, resolution_hint
from eosin.backends.thumbnail import ThumbnailSource, read_thumbnail, shrink_in_strips
from eosin.backends.tiff import refuse_for_every_reader
from eosin.backends.tiff_levels import fit_level
from eosin.errors import SlideOpenError, SlideReadError
from eosin.geometry import Level, SlideInfo
from eosin.reading import check_regular, kind_of

_CACHE_BYTES = 64 * 2**20
"""Of all OpenSlide slides of a process together; its own default is 32 MiB a slide."""

_FLUORESCENCE = {
    "mirax.GENERAL.SLIDE_TYPE": "FLUORESCENCE",
}
"""Properties, and what their value holds on slides without transmitted light."""
_EXCITED = re.compile(r";ExcitationWaveLength=[1-9]")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSlideBackend(SlideBackend):
    """Open slides with OpenSlide."""

    mpp: MppPolicy = field(default_factory=MppPolicy)
    refuse_fluorescence: bool = True
    """Whether slides that say they are fluorescent are turned away: no detector here knows them."""

    def open(self, path: Path | str) -> "OpenSlideSlide":
        return OpenSlideSlide(Path(path), self)


@final
class OpenSlideSlide(Slide):
    """A slide that OpenSlide has open.

    OpenSlide latches: after one failed read every later read of a handle fails. So a failed read is
    tried once more on a handle of its own, which alone decides: another thread's failure on the
    shared handle must not make this region unreadable. Handles close with their last reader.
    """

    def __init__(self, path: Path, settings: OpenSlideBackend) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            if path.is_file():
                # OpenSlide opens masks, 16 bits and impossible headers too.
                refuse_for_every_reader(str(path))
            handle = _open_handle(path)
            if settings.refuse_fluorescence:
                _refuse_fluorescence(path, handle.properties)
            self._levels, notes = _levels_that_fit(handle)
            """OpenSlide's number of each level."""
            self._info = _describe(path, handle, settings.mpp, self._levels, notes)
        except (openslide.OpenSlideError, OSError, UnicodeDecodeError) as error:
            raise SlideOpenError(path, _why_not(path, error)) from error
        self.num_levels_found = handle.level_count
        """By OpenSlide, with those that are left out here."""
        self._handle: openslide.OpenSlide | None = handle
        """The shared one; None after closing."""

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        image = self._retry_once(
            lambda handle: handle.read_region((x, y), self._levels[level], (width, height))
        )
        return _over_background(np.asarray(image), self._info.background)

    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        try:
            num_bytes = self._path.stat().st_size
        except OSError:
            num_bytes = 0  # gone by now, while it is still open
        return read_thumbnail(self._info, num_bytes, max_px, self._shrink)

    def _shrink(self, source: ThumbnailSource) -> UInt8[np.ndarray, "height width 3"]:
        level = self._info.levels[source.level]

        def read_rows(first: int, last: int) -> UInt8[np.ndarray, "_rows _width 3"]:
            y_l0 = round(first * level.downsample)
            return self.read_region(0, y_l0, source.level, level.width, last - first)

        return shrink_in_strips(
            read_rows,
            source_width=level.width,
            source_height=level.height,
            width=source.width,
            height=source.height,
        )

    def close(self) -> None:
        with self._lock:
            self._handle = None

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


@final
class _SharedCache:
    """The cache that all handles of a process share; made anew after a fork, which breaks locks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache: openslide.OpenSlideCache | None = None

    def get(self) -> openslide.OpenSlideCache:
        with self._lock:
            if self._cache is None:
                self._cache = openslide.OpenSlideCache(_CACHE_BYTES)
            return self._cache

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._cache = None


_CACHE = _SharedCache()
os.register_at_fork(after_in_child=_CACHE.forget)


def _open_handle(path: Path) -> openslide.OpenSlide:
    check_regular(path)
    handle = openslide.OpenSlide(path)
    handle.set_cache(_CACHE.get())
    return handle


def _why_not(path: Path, error: Exception) -> str:
    try:
        size_bytes = path.stat().st_size
    except (FileNotFoundError, ValueError):
        return "does not exist"
    except OSError as unseen:
        return f"cannot be opened ({unseen.strerror})"
    if path.is_file() and size_bytes == 0:
        return "is empty (0 bytes); copy or download it again"
    if path.is_file() and not os.access(path, os.R_OK):
        return "may not be read: permission denied"
    if kind_of(path):
        return f"is {kind_of(path)}; only regular files are read"
    if path.is_dir() or isinstance(error, openslide.OpenSlideUnsupportedFormatError):
        return "is not a slide that OpenSlide can read"
    return f"cannot be opened by OpenSlide ({error})"


def _describe(
    path: Path,
    handle: openslide.OpenSlide,
    policy: MppPolicy,
    numbers: Sequence[int],
    notes: Sequence[str],
) -> SlideInfo:
    properties = handle.properties
    width, height = handle.dimensions
    decided = _read_mpp(path, properties, policy, (width, height))
    sizes = [(handle.level_dimensions[n], handle.level_downsamples[n]) for n in numbers]
    return SlideInfo(
        path=str(path),
        width_l0=width,
        height_l0=height,
        levels=tuple(Level(width=w, height=h, downsample=float(d)) for (w, h), d in sizes),
        mpp=decided.mpp,
        mpp_source=decided.source,
        notes=(*notes, *decided.notes),
        vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        background=_read_background(properties),
        fingerprint=file_fingerprint(path),
        reader="openslide",
        codec="unknown",
        has_icc_profile="openslide.icc-size" in properties,
        bounds_l0=_read_bounds(properties),
    )


def _levels_that_fit(handle: openslide.OpenSlide) -> tuple[list[int], list[str]]:
    """Return the levels whose pixels have the scale that OpenSlide takes them for, and notes.

    OpenSlide finds the scale of a generic TIFF's levels from their sizes alone, which is wrong for
    levels that are padded or cut. Formats of scanners say it.
    """
    properties = handle.properties
    if properties.get(openslide.PROPERTY_NAME_VENDOR) not in ("generic-tiff", "aperio"):
        return list(range(handle.level_count)), []
    numbers, notes = [0], []
    for number in range(1, handle.level_count):
        tile = [properties.get(f"openslide.level[{number}].tile-{s}") for s in ("width", "height")]
        fit = fit_level(
            handle.dimensions,
            handle.level_dimensions[number],
            (int(tile[0] or 1), int(tile[1] or 1)),
        )
        if isinstance(fit, str):
            notes.append(f"level {number} is left out: it {fit}")
        elif fit[1:] != handle.level_dimensions[number]:
            notes.append(f"level {number} is left out: it is padded to whole tiles")
        else:
            numbers.append(number)
    return numbers, notes


def _refuse_fluorescence(path: Path, properties: Mapping[str, str]) -> None:
    for name, value in properties.items():
        # Hamamatsu keeps the filters of its fluorescence unit in a property without a fixed name.
        if name.startswith("hamamatsu.") and _EXCITED.search(value):
            raise SlideOpenError(
                path, "is a fluorescence slide (its scanner names an excitation filter)"
            )
    for name, text in _FLUORESCENCE.items():
        if text in properties.get(name, ""):
            raise SlideOpenError(
                path, f"is a fluorescence slide ({name}={properties[name]}), not a stained one"
            )


def _read_mpp(
    path: Path, properties: Mapping[str, str], policy: MppPolicy, size_l0: tuple[int, int]
) -> DecidedMpp:
    hints = [
        MppHint(source, properties[x], properties[y])
        for source, x, y in (
            ("openslide.mpp-x/y", openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y),
            ("aperio.MPP", "aperio.MPP", "aperio.MPP"),
        )
        if x in properties and y in properties
    ]
    x, y = (microns(properties.get(f"tiff.{axis}Resolution")) for axis in "XY")
    hints += resolution_hint(x, y, properties.get("tiff.ResolutionUnit", ""))
    power = properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER, properties.get("aperio.AppMag"))
    vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "")
    return policy.decide(path, hints, power, vendor=vendor, size_l0=size_l0)


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

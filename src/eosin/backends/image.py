"""Plain PNG and JPEG images as slides of one level, for regions that were exported from slides.

They do not say how large their pixels are, so `MppPolicy` has to. How a file becomes pixels is in
`image_files`.
"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8

from eosin.backends.base import Slide, SlideBackend
from eosin.backends.files import IMAGE_SUFFIXES, source_fingerprint
from eosin.backends.image_files import ImageFileError, read_header, read_pixels
from eosin.backends.mpp import MppPolicy
from eosin.backends.source import open_source
from eosin.backends.thumbnail import read_thumbnail, shrink_in_strips
from eosin.errors import MissingDependencyError, SlideOpenError, SlideReadError, system_reason
from eosin.geometry import Level, SlideInfo

_MAX_PIXELS = 2**29
"""Of an image, which is held in memory whole: 1.6 GB of RGB."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ImageBackend(SlideBackend):
    """Open PNG and JPEG images; each is held in memory whole while it is open."""

    mpp: MppPolicy = field(default_factory=MppPolicy)

    def open(self, path: Path | str) -> Slide:
        return ImageSlide(str(path), self.mpp)


@final
class ImageSlide(Slide):
    """An image file; decoded at the first read."""

    def __init__(self, path: str, policy: MppPolicy) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pixels: UInt8[np.ndarray, "height width 3"] | None = None
        self._is_open = True
        if Path(path).suffix.lower() not in IMAGE_SUFFIXES:
            raise SlideOpenError(path, f"is none of {', '.join(sorted(IMAGE_SUFFIXES))}")
        try:
            content = open_source(path)
            with content.as_file() as file:
                header = read_header(file, max_pixels=_MAX_PIXELS)
            fingerprint = source_fingerprint(content)
        except ImageFileError as error:
            raise SlideOpenError(path, str(error)) from error
        except (OSError, ValueError, MissingDependencyError) as error:
            raise SlideOpenError(path, f"cannot be opened ({system_reason(error)})") from error
        if header.is_grey:
            raise SlideOpenError(path, "is grey and must be RGB in 8 bits")
        size = header.width, header.height
        decided = policy.decide(path, [], None, size_l0=size)
        self._info = SlideInfo(
            path=path,
            width_l0=size[0],
            height_l0=size[1],
            levels=(Level(width=size[0], height=size[1], downsample=1.0),),
            mpp=decided.mpp,
            mpp_source=decided.source,
            notes=decided.notes,
            vendor="image",
            fingerprint=fingerprint,
            reader="image",
            codec=header.kind,
            has_icc_profile=header.has_profile,
        )

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        pixels = self._decoded()
        out = np.empty((height, width, 3), np.uint8)
        left, top = max(0, x), max(0, y)
        right, bottom = min(x + width, pixels.shape[1]), min(y + height, pixels.shape[0])
        if (left, top, right, bottom) != (x, y, x + width, y + height):
            out[:] = self._info.background
        if left < right and top < bottom:
            out[top - y : bottom - y, left - x : right - x] = pixels[top:bottom, left:right]
        return out

    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        pixels = self._decoded()
        return read_thumbnail(
            self._info,
            pixels.nbytes,
            max_px,
            lambda source: shrink_in_strips(
                lambda first, last: pixels[first:last],
                source_width=pixels.shape[1],
                source_height=pixels.shape[0],
                width=source.width,
                height=source.height,
            ),
        )

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            self._pixels = None

    def _decoded(self) -> UInt8[np.ndarray, "height width 3"]:
        with self._lock:
            if not self._is_open:
                raise SlideReadError(self._path, "the slide was closed; open it again")
            if self._pixels is None:
                self._pixels = _decode(self._path, self._info.background)
            return self._pixels


def _decode(path: str, background: tuple[int, int, int]) -> UInt8[np.ndarray, "height width 3"]:
    try:
        with open_source(path).as_file() as file:
            return read_pixels(file, max_pixels=_MAX_PIXELS, background=background)
    except ImageFileError as error:
        raise SlideReadError(path, f"cannot be decoded: it {error}") from error
    except OSError as error:
        raise SlideReadError(path, f"cannot be read ({system_reason(error)})") from error

"""Slides without files that fail to open or to read whenever a test says so."""

from dataclasses import dataclass, field

from eosin.backends import SlideBackend, SyntheticBackend
from eosin.backends.base import Slide


@dataclass(frozen=True, kw_only=True)
class Faults(SlideBackend):
    """Synthetic slides; what `reading` and `opening` raise decides about each call."""

    inner: SyntheticBackend = field(default_factory=SyntheticBackend)
    reading: object = None
    """Called with path, x, y, level before each read."""
    opening: object = None
    """Called with the path before each opening."""

    def open(self, path):
        if self.opening is not None:
            self.opening(str(path))
        return FaultySlide(self.inner.open(path), self)


class FaultySlide(Slide):
    def __init__(self, slide, faults):
        self._slide, self._faults = slide, faults

    @property
    def info(self):
        return self._slide.info

    def read_region(self, x, y, level, width, height):
        if self._faults.reading is not None:
            self._faults.reading(self.info.path, x, y, level)
        return self._slide.read_region(x, y, level, width, height)

    def thumbnail(self, max_px):
        return self._slide.thumbnail(max_px)

    def close(self):
        self._slide.close()

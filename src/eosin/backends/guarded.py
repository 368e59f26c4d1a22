"""Any reader, with a note of what each thread reads, for the case that a codec takes all down."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8

from eosin.backends.base import Slide, SlideBackend
from eosin.backends.crash import CrashLog
from eosin.errors import SlideOpenError
from eosin.geometry import SlideInfo


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GuardedBackend(SlideBackend):
    """Opens slides as another reader does, but none that a process has died of."""

    backend: SlideBackend
    log: CrashLog

    def open(self, path: Path | str) -> Slide:
        reason = self.log.reason(str(path))
        if reason is not None:
            raise SlideOpenError(path, reason)
        with self.log.reading(str(path)):
            return GuardedSlide(self.backend.open(path), self.log)


@final
class GuardedSlide(Slide):
    """A slide whose reads are noted while they last."""

    def __init__(self, slide: Slide, log: CrashLog) -> None:
        self._slide = slide
        self._log = log

    @property
    def info(self) -> SlideInfo:
        return self._slide.info

    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        with self._log.reading(self.info.path):
            return self._slide.read_region(x, y, level, width, height)

    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        with self._log.reading(self.info.path):
            return self._slide.thumbnail(max_px)

    def close(self) -> None:
        self._slide.close()


def guarded(backend: SlideBackend, log: CrashLog | None) -> SlideBackend:
    """Return the reader, guarded where there is a log."""
    return backend if log is None else GuardedBackend(backend=backend, log=log)

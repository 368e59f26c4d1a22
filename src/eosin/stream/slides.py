"""Slides while a stream runs: opened when needed, a bounded number at a time, masks computed once.

A slide that cannot be used goes into quarantine, which only saves the time of failing again: the
samples are the same with and without it. Safe from several threads.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from eosin.backends.base import Slide, SlideBackend
from eosin.errors import NoPlaceError, SlideError, StreamStalledError
from eosin.tissue.base import TissueDetector
from eosin.tissue.mask import TissueMask


@dataclass(frozen=True, slots=True)
class ReadySlide:
    """An open slide and where its tissue is."""

    slide: Slide
    tissue: TissueMask


@final
class SlideStore:
    """The slides of a stream by number."""

    def __init__(
        self,
        paths: Sequence[str],
        backend: SlideBackend,
        detector: TissueDetector,
        *,
        max_open_slides: int,
        max_quarantined_fraction: float,
    ) -> None:
        self.paths = tuple(paths)
        self._backend = backend
        self._detector = detector
        self._max_open = max_open_slides
        self._max_quarantined = max_quarantined_fraction * len(self.paths)
        self._lock = threading.Lock()
        self._slide_locks = [threading.Lock() for _ in self.paths]
        self._ready: OrderedDict[int, ReadySlide] = OrderedDict()
        self._quarantined: dict[int, SlideError] = {}

    def get(self, number: int) -> ReadySlide:
        """Return a slide, open and with its mask.

        Raises:
            SlideError: If it cannot be used; the same each time.
            StreamStalledError: If too many slides cannot be used.
        """
        # One lock a slide: two threads that want the same one must not both compute its mask, and
        # two that want different ones must not wait for each other.
        with self._slide_locks[number]:
            failure = self._quarantined.get(number)
            if failure is not None:
                raise type(failure)(failure.path, failure.reason)
            try:
                return self._recent(number) or self._prepare(number)
            except SlideError as error:
                self.quarantine(number, error)
                raise

    @property
    def quarantined(self) -> dict[str, str]:
        """Slides that cannot be used, each with the reason."""
        with self._lock:
            return {self.paths[n]: error.reason for n, error in self._quarantined.items()}

    def close(self) -> None:
        """Close every open slide; later use opens them again."""
        with self._lock:
            # Not closed here: a thread may be reading ahead. Each closes with its last reader.
            self._ready.clear()

    def _recent(self, number: int) -> ReadySlide | None:
        with self._lock:
            ready = self._ready.get(number)
            if ready is not None:
                self._ready.move_to_end(number)
            return ready

    def _prepare(self, number: int) -> ReadySlide:
        slide = self._backend.open(self.paths[number])
        try:
            ready = ReadySlide(slide, self._find_tissue(slide))
        except SlideError:
            slide.close()
            raise
        with self._lock:
            self._ready[number] = ready
            while len(self._ready) > self._max_open:
                # Not closed here: another thread may be reading. It closes with its last reader.
                self._ready.popitem(last=False)
        return ready

    def _find_tissue(self, slide: Slide) -> TissueMask:
        tissue = self._detector.tissue(slide)
        if not tissue.mask.any():
            detector = type(self._detector).__name__
            raise NoPlaceError(slide.info.path, f"{detector} finds no tissue on it")
        return tissue

    def quarantine(self, number: int, error: SlideError) -> None:
        """Remember that a slide cannot be used, and why.

        Raises:
            StreamStalledError: If too many slides cannot be used.
        """
        with self._lock:
            # A copy without the traceback, which would keep the slide and its mask in memory.
            self._quarantined[number] = type(error)(error.path, error.reason)
            num_bad = len(self._quarantined)
        if num_bad > max(1, self._max_quarantined):
            raise StreamStalledError(
                f"{num_bad} of {len(self.paths)} slides cannot be used, the last because: {error}; "
                "mend the list, or raise max_quarantined_fraction"
            ) from error

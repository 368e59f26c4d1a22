"""Slides while a stream runs: opened when needed, a bounded number at a time, masks computed once.

What cannot be read goes into quarantine, which only saves the time of failing again: the samples
are the same with and without it. Safe from several threads.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from eosin.backends.base import Slide, SlideBackend
from eosin.catalog.entry import SlideEntry
from eosin.errors import (
    EosinError,
    NoPlaceError,
    SlideError,
    SlideOpenError,
    SlideReadError,
    StreamStalledError,
)
from eosin.geometry import PatchCoordinate
from eosin.names import get_logger
from eosin.stream.quarantine import QuarantineLog
from eosin.stream.ready import ReadySlide, read_once
from eosin.stream.retry import Retry, may_pass
from eosin.stream.unreadable import Unreadable
from eosin.stream.watch import Activities
from eosin.tissue.base import TissueSource
from eosin.tissue.doubt import mask_note, no_tissue
from eosin.tissue.mask import TissueMask
from eosin.tissue.store import MaskStore
from eosin.transforms.base import Image

logger = get_logger(__name__)

_MAX_GIVEN_UP = 3
"""Reads of a slide that were waited for in vain; after them they are tried again without pauses, as
often as before, so that what was tried earlier decides about no sample."""

_MAX_GIVEN_UP_SLIDES = 16
"""The same for opening slides: with a disk gone, thousands would each be waited for."""

_MAX_LOGGED_NOTES = 3
"""Masks that look odd and are logged; of all, `notes` tells."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StoreLimits:
    """How much a store holds and puts up with."""

    max_open_slides: int
    max_quarantined_fraction: float
    retry: Retry = field(default_factory=Retry)


@final
class SlideStore:
    """The slides of a stream by number."""

    def __init__(
        self,
        entries: Sequence[SlideEntry],
        backend: SlideBackend,
        tissue_source: TissueSource,
        *,
        limits: StoreLimits,
        masks: MaskStore | None = None,
        log: QuarantineLog | None = None,
        gone: frozenset[int] = frozenset(),
    ) -> None:
        """Take slides and what reads them; nothing is opened yet.

        Args:
            entries: The slides; their numbers are their places here.
            backend: Opens them.
            tissue_source: Gives their masks.
            limits: How much is held and put up with.
            masks: Where masks are kept on disk.
            log: Where quarantine is written down.
            gone: Numbers of slides that an earlier list had and that are not there any more.
        """
        self.entries = tuple(entries)
        self.activities = Activities()
        self._backend = backend
        self._tissue_source = tissue_source
        self._limits = limits
        self._masks = masks
        self._log = log or QuarantineLog()
        self._unreadable = Unreadable(self._log)
        self._gone = gone
        self._max_bad = limits.max_quarantined_fraction * (len(self.entries) - len(gone))
        self._lock = threading.Lock()
        self._slide_locks = [threading.Lock() for _ in self.entries]
        self._ready: OrderedDict[int, ReadySlide] = OrderedDict()
        self._quarantined: dict[int, SlideError] = {}
        self._num_bad = 0
        self._num_given_up: Counter[int] = Counter()
        self._num_given_up_slides = 0
        self._notes: dict[int, tuple[str, ...]] = {}
        self._num_doubted = 0

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
                self._check_share(failure)
                raise type(failure)(failure.path, failure.reason)
            ready = self._recent(number)
            if ready is not None:
                return ready
            try:
                with self.activities.doing(f"opening {self.entries[number].path}"):
                    return self._prepare_persistently(number)
            except SlideError as error:
                self.quarantine(number, error)
                raise

    def read(self, ready: ReadySlide, coordinate: PatchCoordinate) -> Image:
        """Return the pixels of a patch, trying again what may pass.

        Raises:
            SlideReadError: If they cannot be decoded; the same each time.
        """
        self._unreadable.check(ready, coordinate)
        try:
            with self.activities.doing(f"reading {coordinate.slide_path}"):
                return self._read_persistently(ready, coordinate)
        except SlideReadError as error:
            self._unreadable.note(ready, coordinate, error)
            raise

    def is_dead(self, ready: ReadySlide, level: int) -> bool:
        """Return whether a level of a slide is unreadable at all of several places."""
        with self.activities.doing(f"reading {ready.slide.info.path}"):
            return self._unreadable.is_dead(ready, level, self._read_persistently)

    @property
    def quarantined(self) -> dict[str, str]:
        """Slides that cannot be used, each with the reason."""
        with self._lock:
            return {self.entries[n].path: e.reason for n, e in self._quarantined.items()}

    @property
    def notes(self) -> dict[str, tuple[str, ...]]:
        """What is to be said of slides that were opened and can be used, by path."""
        with self._lock:
            return {self.entries[n].path: notes for n, notes in self._notes.items() if notes}

    def quarantine(self, number: int, error: SlideError) -> None:
        """Remember that a slide cannot be used, and why.

        Raises:
            StreamStalledError: If too many slides cannot be used.
        """
        with self._lock:
            is_new = number not in self._quarantined
            # A copy without the traceback, which would keep the slide and its mask in memory.
            self._quarantined[number] = type(error)(error.path, error.reason)
            self._num_bad = len(self._quarantined.keys() - self._gone)
        entry = self.entries[number]
        if is_new and number not in self._gone:
            self._log.note(
                "slide",
                slide_path=entry.path,
                fingerprint=entry.fingerprint,
                cause=type(error).__name__,
                reason=error.reason,
            )
        self._check_share(error)

    def _check_share(self, error: SlideError) -> None:
        if self._num_bad > max(1, self._max_bad):
            raise StreamStalledError(
                f"{self._num_bad} of {len(self.entries)} slides cannot be used, the last because: "
                f"{error}; mend the list, or raise max_quarantined_fraction"
            ) from error

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

    def _prepare_persistently(self, number: int) -> ReadySlide:
        if number in self._gone:
            raise SlideOpenError(self.entries[number].path, "is not in the list any more")
        try:
            return self._prepare(number)
        except SlideError as error:
            failure = error
        if not may_pass(failure, failure.path):
            raise failure
        is_patient = self._num_given_up_slides < _MAX_GIVEN_UP_SLIDES
        for _ in self._limits.retry.pauses(is_patient=is_patient):
            try:
                return self._prepare(number)
            except SlideError as error:
                failure = error
            if not may_pass(failure, failure.path):
                raise failure
        with self._lock:
            self._num_given_up_slides += 1
        raise failure

    def _prepare(self, number: int) -> ReadySlide:
        entry = self.entries[number]
        try:
            slide = self._backend.open(entry.path)
            try:
                _check_content(slide, entry)
                ready = ReadySlide(slide, self._find_tissue(slide), number)
                self._note(ready)
            except Exception:
                slide.close()
                raise
        except EosinError:
            raise
        except Exception as error:
            # A reader or detector that breaks on one slide must not stop the run.
            raise SlideOpenError(entry.path, f"{type(error).__name__}: {error}") from error
        with self._lock:
            self._ready[number] = ready
            while len(self._ready) > self._limits.max_open_slides:
                # Not closed here: another thread may be reading. It closes with its last reader.
                self._ready.popitem(last=False)
        return ready

    def _find_tissue(self, slide: Slide) -> TissueMask:
        if self._masks is None:
            tissue = self._tissue_source.tissue(slide)
        else:
            tissue = self._masks.tissue(slide, self._tissue_source)
        if not tissue.mask.any():
            raise NoPlaceError(slide.info.path, no_tissue(slide, self._tissue_source))
        return tissue

    def _note(self, ready: ReadySlide) -> None:
        """Note once what is to be said of a slide, and log what is odd about its mask."""
        if ready.number in self._notes:
            return
        info = ready.slide.info
        note = mask_note(ready.slide, ready.tissue, self._tissue_source)
        with self._lock:
            self._notes[ready.number] = (*info.notes, *([] if note is None else [note]))
            self._num_doubted += note is not None
            num_doubted = self._num_doubted
        if note is not None and num_doubted <= _MAX_LOGGED_NOTES:
            more = "; others may follow, which 'eosin scan' lists"
            logger.warning("%s: %s%s", info.path, note, more * (num_doubted == _MAX_LOGGED_NOTES))

    def _read_persistently(self, ready: ReadySlide, coordinate: PatchCoordinate) -> Image:
        path = coordinate.slide_path
        try:
            return read_once(ready.slide, coordinate)
        except SlideReadError as error:
            failure = error
        is_patient = self._num_given_up[ready.number] < _MAX_GIVEN_UP
        # Asked first: a pause before an error that stays would be for nothing.
        if not may_pass(failure, path):
            raise failure
        for _ in self._limits.retry.pauses(is_patient=is_patient):
            try:
                # A stale handle stays stale: each try opens the file anew.
                with self._backend.open(path) as slide:
                    return read_once(slide, coordinate)
            except SlideError as error:
                failure = SlideReadError(path, error.reason)
                failure.__cause__ = error
            if not may_pass(failure, path):
                raise failure
        with self._lock:
            self._num_given_up[ready.number] += 1
        raise failure


def _check_content(slide: Slide, entry: SlideEntry) -> None:
    found = slide.info.fingerprint
    if entry.fingerprint is not None and found != entry.fingerprint:
        raise SlideOpenError(
            entry.path,
            f"its content (fingerprint {found}) is not what the index says "
            f"({entry.fingerprint}); scan it again",
        )

"""Which regions and levels of open slides cannot be read, so that nobody tries them for ever."""

import threading
import zlib
from collections.abc import Callable
from typing import NamedTuple, final

from eosin.errors import SlideReadError
from eosin.geometry import PatchCoordinate, SlideInfo
from eosin.randomness import Purpose, rng_at
from eosin.stream.quarantine import QuarantineLog
from eosin.stream.ready import ReadySlide
from eosin.stream.retry import may_pass
from eosin.tissue.mask import Extent
from eosin.transforms.base import Image

_NUM_PROBES = 8
"""Places of a level that must all be unreadable for the level to count as such."""

_PROBE_PX = 64
_MAX_REGIONS = 65536


ReadPatch = Callable[[ReadySlide, PatchCoordinate], Image]
"""Returns the pixels of a patch, or raises SlideReadError."""


class _Region(NamedTuple):
    number: int
    x: int
    y: int
    level: int
    read_width: int
    read_height: int


@final
class Unreadable:
    """What turned out unreadable of the slides of a stream. Safe from several threads."""

    def __init__(self, log: QuarantineLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._bad_regions: dict[_Region, str] = {}
        self._dead_levels: dict[tuple[int, int], bool] = {}

    def check(self, ready: ReadySlide, coordinate: PatchCoordinate) -> None:
        """Refuse a patch that could not be read before.

        Raises:
            SlideReadError: The same as then.
        """
        known = self._bad_regions.get(_region(ready, coordinate))
        if known is not None:
            raise SlideReadError(coordinate.slide_path, known)

    def note(self, ready: ReadySlide, coordinate: PatchCoordinate, error: SlideReadError) -> None:
        """Remember that a patch cannot be read, and why."""
        region = _region(ready, coordinate)
        with self._lock:
            # What may pass is tried again by the next sample that wants it.
            if len(self._bad_regions) < _MAX_REGIONS and not may_pass(error, error.path):
                self._bad_regions[region] = error.reason
        self._log.note(
            "region",
            slide_path=error.path,
            fingerprint=ready.slide.info.fingerprint,
            cause="unreadable region",
            reason=error.reason,
            where={"x": region.x, "y": region.y, "level": region.level},
        )

    def is_dead(self, ready: ReadySlide, level: int, read: ReadPatch) -> bool:
        """Return whether a level is unreadable at all of several places.

        Asked when a sample could not read its place. The places are the level's own, so the answer
        does not depend on who asks first, and giving up on it is no matter of history.

        Args:
            ready: The slide.
            level: Of it.
            read: Reads as samples are read, so that what they would get is not given up.
        """
        key = (ready.number, level)
        if key in self._dead_levels:
            return self._dead_levels[key]
        failures = _probe(ready, level, read)
        is_dead = len(failures) == _NUM_PROBES
        if any(may_pass(failure, failure.path) for failure in failures):
            # The disk's fault, not the file's: the next sample asks again.
            return is_dead
        with self._lock:
            is_new = key not in self._dead_levels
            self._dead_levels[key] = is_dead
        if is_dead and is_new:
            self._log.note(
                "level",
                slide_path=ready.slide.info.path,
                fingerprint=ready.slide.info.fingerprint,
                cause="unreadable level",
                reason=failures[-1].reason,
                where={"level": level},
            )
        return is_dead


def _probe(ready: ReadySlide, level: int, read: ReadPatch) -> list[SlideReadError]:
    """Return why places of a level cannot be read, up to the first that can."""
    info = ready.slide.info
    side_l0 = _PROBE_PX * info.levels[level].downsample
    extent = Extent(min(side_l0, info.width_l0), min(side_l0, info.height_l0))
    failures: list[SlideReadError] = []
    for probe in range(_NUM_PROBES):
        rng = rng_at(zlib.crc32(info.fingerprint.encode()), Purpose.PLACE, level, probe)
        x, y = ready.tissue.draw_place(rng, extent, 0.5) or (0, 0)
        try:
            read(ready, _probe_at(info, x, y, level))
        except SlideReadError as error:
            failures.append(error)
        else:
            break
    return failures


def _region(ready: ReadySlide, at: PatchCoordinate) -> _Region:
    return _Region(ready.number, at.x, at.y, at.level, at.read_width, at.read_height)


def _probe_at(info: SlideInfo, x: int, y: int, level: int) -> PatchCoordinate:
    return PatchCoordinate(
        slide_path=info.path,
        x=x,
        y=y,
        level=level,
        patch_size=_PROBE_PX,
        mpp=1.0,
        read_width=_PROBE_PX,
        read_height=_PROBE_PX,
    )

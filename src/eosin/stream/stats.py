"""Counts of what was delivered and what was turned away, and why."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import final

from eosin.errors import StreamStalledError
from eosin.stream.quarantine import Grain
from eosin.stream.result import PatchResult, Rejection


@final
class StreamStats:
    """What a stream has done since it was made; counted when a sample is delivered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.num_delivered = 0
        self.by_mpp: Counter[str] = Counter()
        """Delivered patches by microns per pixel, two digits."""
        self.by_slide: Counter[str] = Counter()
        """Delivered patches by slide path."""
        self.rejections: Counter[str] = Counter()
        """Candidates and slides turned away, by cause."""
        self.rejections_by_slide: Counter[tuple[str, str]] = Counter()
        """The same by slide path and cause."""
        self.quarantined: Counter[Grain] = Counter()
        """Regions, levels and slides that turned out unreadable, as soon as they are met."""
        self.problems: dict[str, str] = {}
        """The last thing that went wrong on a slide, other than a filter's judgement."""

    def count(self, result: PatchResult) -> None:
        """Count a delivered sample and what was tried before it."""
        with self._lock:
            self.num_delivered += 1
            self.by_mpp[f"{result.coordinate.mpp:.2g}"] += 1
            self.by_slide[result.coordinate.slide_path] += 1
        self.count_rejections(result.rejections)

    def count_rejections(self, rejections: Iterable[Rejection]) -> None:
        """Count candidates that gave nothing."""
        with self._lock:
            for rejection in rejections:
                self.rejections[rejection.cause] += 1
                self.rejections_by_slide[rejection.slide_path, rejection.cause] += 1
                if rejection.detail:
                    self.problems[rejection.slide_path] = rejection.detail


def summarize(rejections: Iterable[Rejection]) -> str:
    """Return shares by cause, as in '98 % HSVPatchFilter, 2 % no place'."""
    counts = Counter(rejection.cause for rejection in rejections)
    total = counts.total()
    return ", ".join(f"{number / total:.0%} {cause}" for cause, number in counts.most_common())


def stalled(
    index: int, rejections: Sequence[Rejection], problems: Mapping[str, str]
) -> StreamStalledError:
    """Return the error that says why no slide gives a sample.

    Args:
        index: The sample.
        rejections: What was tried.
        problems: What went wrong before, by slide.
    """
    shares = summarize(rejections)
    causes = f"{len(rejections)} candidates were turned away ({shares})" if shares else ""
    details = {r.slide_path: r.detail for r in rejections if r.detail}
    some = list({**problems, **details}.items())[-1:]
    example = "".join(f"; for one, {path}: {detail}" for path, detail in some)
    return StreamStalledError(
        f"no slide gives sample {index}: {causes or 'no slide has a place for it'}{example}; "
        "look at the slides with 'eosin preview', or loosen what turns them away: where the stain "
        "is not H&E or the glass tinted, --tissue-detector faint and --patch-filter all"
    )

"""How fast a stream is on this machine, where its time goes, and what would help.

The stream runs twice: cold, as a training run begins, and again with everything open. Then its
parts are timed on the very places that it read, so that what is left is choosing and keeping books.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import final

from eosin.backends.patch import read_patch
from eosin.errors import ConfigError, SlideReadError
from eosin.geometry import PatchCoordinate
from eosin.pipeline import PatchPipeline
from eosin.progress import progress_bar
from eosin.randomness import Purpose, rng_at
from eosin.stream.result import PatchResult
from eosin.transforms.base import Image
from eosin.views import draw_views, replay_views

_MS = 1e3
_SLOW_SHARE = 0.4
_LOW_ACCEPTANCE = 0.5


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StreamSpeed:
    """What was measured; times are milliseconds per accepted patch."""

    num_patches: int
    num_candidates: int
    """Patches that were read, with those that the filter turned away."""
    num_slides: int
    """Slides that gave patches."""
    readers: dict[str, int]
    """Slides by what reads them."""
    first_ms: float
    """Until the first patch, from nothing open."""
    cold_ms: float
    """All in all, opening slides and finding tissue included."""
    warm_ms: float
    """The same with slides open and tissue known."""
    read_ms: float
    filter_ms: float
    augment_ms: float
    threaded_ms: float
    """As `warm_ms`, with `num_threads` threads."""
    num_threads: int
    has_masks: bool = False
    """Whether tissue masks may come from a store."""

    @property
    def choose_ms(self) -> float:
        """What the parts leave: choosing places, counting, handing over."""
        return max(0.0, self.warm_ms - self.read_ms - self.filter_ms - self.augment_ms)


def measure_stream(pipeline: PatchPipeline, *, num_patches: int, num_threads: int) -> StreamSpeed:
    """Run a stream for some patches and time it and its parts.

    Args:
        pipeline: An endless stream without threads.
        num_patches: Accepted patches of each run.
        num_threads: For the run with threads.

    Raises:
        StreamStalledError: If the slides give no patches.
    """
    if num_patches < 1 or num_threads < 1:
        raise ConfigError(
            f"num_patches={num_patches} and num_threads={num_threads} must be at least 1"
        )
    with progress_bar("bench", 4) as bar:
        begin = time.perf_counter()
        stream = iter(pipeline)
        # Places only: the images of a long run would not fit into memory.
        places = [_places_of(next(stream))]
        first_s = time.perf_counter() - begin
        places += map(_places_of, islice(stream, num_patches - 1))
        cold_s = time.perf_counter() - begin
        bar.advance(note="cold")
        warm_s = _time_samples(pipeline, num_patches)
        bar.advance(note="warm")
        threaded = replace(pipeline, num_threads=num_threads)
        _time_samples(threaded, num_patches)
        threaded_s = _time_samples(threaded, num_patches)
        bar.advance(note=f"{num_threads} threads")
        candidates = [place for of_result in places for place in of_result]
        read_s, filter_s, augment_s = _time_parts(pipeline, candidates, num_patches)
        bar.advance(note="reading, filter, augmentation")
    scale = _MS / num_patches
    slides = {of_result[-1].slide_path for of_result in places}
    return StreamSpeed(
        num_patches=num_patches,
        num_candidates=len(candidates),
        num_slides=len(slides),
        readers=dict(Counter(_reader_of(pipeline, path) for path in sorted(slides))),
        first_ms=first_s * _MS,
        cold_ms=cold_s * scale,
        warm_ms=warm_s * scale,
        read_ms=read_s * scale,
        filter_ms=filter_s * scale,
        augment_ms=augment_s * scale,
        threaded_ms=threaded_s * scale,
        num_threads=num_threads,
        has_masks=pipeline.mask_store is not None,
    )


def describe(speed: StreamSpeed) -> str:
    """Return the measurement as a table, and advice in words."""
    rate = _MS / speed.warm_ms
    lines = [
        f"{speed.num_slides} slides, read by "
        + ", ".join(f"{name} ({number})" for name, number in sorted(speed.readers.items())),
        f"{speed.num_candidates} patches read, {speed.num_patches} accepted",
        "",
        "stage                   ms a patch   share",
    ]
    for name, value in (
        ("reading and decoding", speed.read_ms),
        ("filter", speed.filter_ms),
        ("augmentation", speed.augment_ms),
        ("choosing, the rest", speed.choose_ms),
    ):
        lines.append(f"{name:22}{value:12.2f}{value / speed.warm_ms:8.0%}")
    lines += [
        "",
        f"one thread              {rate:8.0f} patches/s "
        f"({_MS / speed.cold_ms:.0f} from a cold start)",
        f"{speed.num_threads} threads{'':14}{_MS / speed.threaded_ms:8.0f} patches/s",
        f"first patch after       {speed.first_ms:8.0f} ms",
        "",
        *(f"- {advice}" for advice in _advice(speed)),
    ]
    return "\n".join(lines)


def _advice(speed: StreamSpeed) -> list[str]:
    advice = []
    num_cores = os.cpu_count() or 1
    gain = speed.warm_ms / speed.threaded_ms
    if gain < 1.3 <= speed.num_threads and num_cores > 1:
        advice.append(
            f"{speed.num_threads} threads are only {gain:.1f} times as fast as one: the disk, or "
            "other programs, hold them up"
        )
    elif speed.num_threads < num_cores:
        advice.append(f"this machine has {num_cores} cores; try --num-threads {num_cores}")
    if speed.readers.get("openslide", 0) and speed.read_ms > _SLOW_SHARE * speed.warm_ms:
        advice.append(
            f"{speed.readers['openslide']} slides go through OpenSlide, which is slower than the "
            "direct TIFF reader; 'eosin scan' says for each slide who reads it"
        )
    if speed.cold_ms > 1.5 * speed.warm_ms and not speed.has_masks:
        advice.append("finding tissue takes long; 'eosin scan' keeps the masks, train on its index")
    if speed.num_patches < _LOW_ACCEPTANCE * speed.num_candidates:
        share = speed.num_patches / speed.num_candidates
        advice.append(
            f"the filter keeps only {share:.0%} of what is read; a tissue detector closer to the "
            "filter would save the rest"
        )
    if speed.augment_ms > _SLOW_SHARE * speed.warm_ms:
        advice.append("augmentation takes most of the time; with a GPU let the device do it")
    return advice or ["nothing stands out: decoding is the floor"]


def _places_of(result: PatchResult) -> list[PatchCoordinate]:
    """Return all that was read for a patch, itself last."""
    rejected = (rejection.coordinate for rejection in result.rejections)
    return [*(place for place in rejected if place is not None), result.coordinate]


def _time_samples(pipeline: PatchPipeline, num_patches: int) -> float:
    begin = time.perf_counter()
    deque(pipeline.samples(range(num_patches)), maxlen=0)
    return time.perf_counter() - begin


def _time_parts(
    pipeline: PatchPipeline, places: Sequence[PatchCoordinate], num_patches: int
) -> tuple[float, float, float]:
    """Return the seconds of reading and filtering all places, and of augmenting some."""
    read_s = filter_s = augment_s = 0.0
    with ExitStack() as opened:
        slides = {
            path: opened.enter_context(pipeline.backend.open(path))
            for path in sorted({place.slide_path for place in places})
        }
        for index, place in enumerate(places):
            begin = time.perf_counter()
            try:
                image = read_patch(slides[place.slide_path], place)
            except SlideReadError:  # the stream met it as well, and went on
                continue
            after_read = time.perf_counter()
            if pipeline.patch_filter is not None:
                pipeline.patch_filter.accept(image)
            after_filter = time.perf_counter()
            if index < num_patches:
                _augment(pipeline, index, image)
            read_s += after_read - begin
            filter_s += after_filter - after_read
            augment_s += time.perf_counter() - after_filter
    return read_s, filter_s, augment_s


def _augment(pipeline: PatchPipeline, index: int, image: Image) -> None:
    rng = rng_at(pipeline.seed, Purpose.AUGMENTATION, index)
    if pipeline.transforms is not None:
        pipeline.transforms.apply(image, rng)
    if pipeline.views is not None:
        shared, views = pipeline.shared_transforms, tuple(pipeline.views)
        height, width = image.shape[:2]
        drawn = draw_views(rng, shared, views, width=width, height=height)
        replay_views(image, drawn, shared, views)


def _reader_of(pipeline: PatchPipeline, path: str) -> str:
    with pipeline.backend.open(path) as slide:
        return slide.info.reader

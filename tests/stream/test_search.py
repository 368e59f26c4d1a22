import errno
import json
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest

from eosin.backends import SlideBackend, SyntheticBackend
from eosin.errors import InputError, SlideOpenError, SlideReadError, StreamStalledError
from eosin.filters import PatchFilter
from eosin.sampling import MultiMagnificationSampler
from eosin.stream.retry import Retry
from eosin.stream.watch import Patience
from eosin.tissue import TissueDetector
from eosin.transforms.base import Transform
from faulty_slides import Faults
from made_slides import synthetic_pipeline

NO_PAUSE = Retry(delays_s=(0.0, 0.0, 0.0))


@dataclass(frozen=True, kw_only=True)
class SizedTissue(TissueDetector):
    """Tissue in the middle of the thumbnail, over this share of its sides."""

    share: float = 0.08

    def detect(self, thumbnail, *, mpp):
        mask = np.zeros(thumbnail.shape[:2], bool)
        height, width = mask.shape
        half = self.share / 2
        rows = slice(int(height * (0.5 - half)), int(height * (0.5 + half)) + 1)
        mask[rows, int(width * (0.5 - half)) : int(width * (0.5 + half)) + 1] = True
        return mask


def stream(num_slides=4, **settings):
    return synthetic_pipeline(
        num_slides, **{"cycle": True, "slide_sampling": "random", "retry": NO_PAUSE, **settings}
    )


def places(results, num):
    return [(r.index, r.coordinate) for r in islice(results, num)]


# Magnifications without a place

SMALL_AND_LARGE = MultiMagnificationSampler(
    target_mpps=(0.25, 4.0), patch_size=128, tissue_threshold=0.9
)


def test_a_magnification_that_no_slide_has_a_place_for_is_left_to_the_others():
    settings = {"sampler": SMALL_AND_LARGE, "tissue_detector": SizedTissue(share=0.2)}
    pipeline = stream(**settings)
    drawn = places(pipeline, 30)
    assert {at.mpp for _, at in drawn} == {0.25}
    assert pipeline.stats.rejections["no place"] > 10
    fresh = [stream(**settings) for _ in range(30)]
    assert [(i, fresh[i].read(i).coordinate) for i, _ in drawn] == drawn


def test_leaving_a_magnification_tries_only_the_slides_that_are_open():
    opened = Counter()
    pipeline = stream(
        40,
        backend=Faults(opening=lambda path: opened.update([path])),
        sampler=SMALL_AND_LARGE,
        tissue_detector=SizedTissue(share=0.2),
        patches_per_slide=100,
    )
    assert len(places(pipeline, 60)) == 60
    assert len(opened) == 2 == pipeline.pool_size


def test_a_magnification_that_some_slides_have_a_place_for_goes_to_them():
    @dataclass(frozen=True, kw_only=True)
    class LargeOnFirst(TissueDetector):
        def detect(self, thumbnail, *, mpp):
            is_large = thumbnail.shape[1] > thumbnail.shape[0]
            return SizedTissue(share=1.0 if is_large else 0.2).detect(thumbnail, mpp=mpp)

    @dataclass(frozen=True, kw_only=True)
    class Mixed(SlideBackend):
        def open(self, path):
            is_large = str(path).endswith("_0")
            width, height = (4000, 3500) if is_large else (1500, 2000)
            return SyntheticBackend(width_l0=width, height_l0=height).open(path)

    pipeline = stream(
        2, backend=Mixed(), tissue_detector=LargeOnFirst(), sampler=SMALL_AND_LARGE, pool_size=2
    )
    drawn = Counter((at.slide_path[-1], at.mpp) for _, at in places(pipeline, 160))
    assert drawn["1", 4.0] == 0
    assert 60 < drawn["0", 4.0] < 100
    assert drawn["1", 0.25] > 20


# Errors that are no slide's


@dataclass(frozen=True, kw_only=True)
class BreaksOnOddColumns(PatchFilter):
    def accept(self, image):
        if image[0, 0, 0] % 2:
            raise ZeroDivisionError("odd column")
        return True


@dataclass(frozen=True, kw_only=True)
class BreaksOnDark(Transform):
    def draw(self, rng, *, width, height):
        return {}

    def replay(self, image, parameters):
        if image[0, 0, 0] % 2:
            raise LookupError("odd column")
        return image


@dataclass(frozen=True, kw_only=True)
class AlwaysBreaks(PatchFilter):
    def accept(self, image):
        raise AttributeError("no such thing")


@pytest.mark.parametrize(
    ("settings", "cause", "detail"),
    [
        (
            {"patch_filter": BreaksOnOddColumns()},
            "BreaksOnOddColumns failed",
            "ZeroDivisionError: odd column",
        ),
        ({"transforms": BreaksOnDark()}, "augmentation failed", "LookupError: odd column"),
    ],
)
def test_a_component_that_breaks_on_one_patch_costs_that_patch(settings, cause, detail):
    pipeline = stream(**settings)
    results = list(islice(pipeline, 40))
    assert all(r.coordinate.x % 2 == 0 for r in results)
    assert pipeline.stats.rejections[cause] > 10
    assert detail in pipeline.stats.problems.values()
    again = stream(**settings)
    assert [again.read(i).coordinate for i in range(40)] == [r.coordinate for r in results]


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_component_that_always_breaks_stops_the_stream_with_its_error(num_threads):
    reads = Counter()
    backend = Faults(reading=lambda path, *_: reads.update([path]))
    pipeline = stream(500, patch_filter=AlwaysBreaks(), backend=backend, num_threads=num_threads)
    with pytest.raises(StreamStalledError, match="AttributeError: no such thing") as caught:
        next(iter(pipeline))
    assert isinstance(caught.value.__cause__, AttributeError)
    assert reads.total() < 128 * 2 * (1 + 16 * num_threads)


@dataclass(frozen=True, kw_only=True)
class AlwaysBreaksToo(TissueDetector):
    def detect(self, thumbnail, *, mpp):
        raise RuntimeError("cannot make it out")


def test_a_detector_that_always_breaks_stops_the_stream_with_its_error():
    with pytest.raises(StreamStalledError, match="RuntimeError: cannot make it out"):
        next(iter(stream(tissue_detector=AlwaysBreaksToo())))


def test_a_reader_that_breaks_oddly_on_one_slide_costs_that_slide():
    def opening(path):
        if path == "made://slide_1":
            raise KeyError("no such tag")

    pipeline = stream(backend=Faults(opening=opening))
    slides = Counter(r.coordinate.slide_path for r in islice(pipeline, 40))
    assert set(slides) == {"made://slide_0", "made://slide_2", "made://slide_3"}
    assert pipeline.quarantined == {"made://slide_1": "KeyError: 'no such tag'"}


# Levels and regions


def level_1_of_slide_2_fails(path, x, y, level):
    if path == "made://slide_2" and level == 1:
        raise SlideReadError(path, "bad huffman code")


def test_a_level_that_cannot_be_read_costs_one_read_a_sample():
    sampler = MultiMagnificationSampler(target_mpps=(0.25, 1.0), patch_size=32)
    reads = Counter()

    def reading(path, x, y, level):
        reads[path, level] += 1
        level_1_of_slide_2_fails(path, x, y, level)

    settings = {"sampler": sampler, "patches_per_slide": 20}
    pipeline = stream(backend=Faults(reading=reading), **settings)
    drawn = places(pipeline, 160)
    delivered = Counter((at.slide_path, at.level) for _, at in drawn)
    assert delivered["made://slide_2", 1] == 0
    assert delivered["made://slide_2", 0] > 10
    turned_away = pipeline.stats.rejections_by_slide["made://slide_2", "unreadable region"]
    assert 10 < turned_away < 60
    # And eight to find out.
    assert reads["made://slide_2", 1] == turned_away + 8
    assert pipeline.stats.quarantined == {"level": 1, "region": turned_away}
    cold = Faults(reading=level_1_of_slide_2_fails)
    assert [
        (i, stream(backend=cold, **settings).read(i).coordinate) for i in range(0, 160, 7)
    ] == drawn[::7]


def test_a_level_of_which_parts_can_be_read_goes_on_giving_patches_whoever_comes_first():
    def reading(path, x, y, level):
        if x < 1800:
            raise SlideReadError(path, "bad tile")

    backend = Faults(reading=reading)
    forward, backward = stream(backend=backend), stream(backend=backend)
    drawn = places(forward, 40)
    assert all(at.x >= 1800 for _, at in drawn)
    assert [(i, backward.read(i).coordinate) for i in reversed(range(40))] == drawn[::-1]
    assert forward.stats.quarantined["level"] == 0
    assert forward.stats.quarantined["region"] > 20


def test_a_region_that_failed_is_not_read_again():
    reads = Counter()

    def reading(path, x, y, level):
        reads[path, x, y] += 1
        if x % 2:
            raise SlideReadError(path, "bad tile")

    pipeline = stream(backend=Faults(reading=reading))
    first = [pipeline.read(i).coordinate for i in range(20)]
    odd = sum(n for (_, x, _), n in reads.items() if x % 2)
    assert odd > 5
    assert [pipeline.read(i).coordinate for i in range(20)] == first
    assert sum(n for (_, x, _), n in reads.items() if x % 2) == odd


def test_everything_unreadable_stops_the_stream_after_bounded_work():
    reads = Counter()

    def reading(path, x, y, level):
        reads[path] += 1
        raise SlideReadError(path, "bad tile")

    pipeline = stream(500, backend=Faults(reading=reading))
    with pytest.raises(StreamStalledError, match=r"100% unreadable region.*bad tile"):
        next(iter(pipeline))
    assert reads.total() == 64 * 9


def test_what_cannot_be_read_is_written_down_line_by_line(tmp_path):
    path = tmp_path / "logs" / "quarantine.jsonl"
    inner = SyntheticBackend(failing=frozenset({"made://slide_0"}))
    pipeline = stream(
        backend=Faults(inner=inner, reading=level_1_of_slide_2_fails),
        sampler=MultiMagnificationSampler(target_mpps=(0.25, 1.0), patch_size=32),
        quarantine_log=path,
        num_threads=2,
    )
    assert len(places(pipeline, 60)) == 60
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert Counter(line["grain"] for line in lines) == pipeline.stats.quarantined
    slide = next(line for line in lines if line["grain"] == "slide")
    assert (slide["slide"], slide["reason"]) == ("made://slide_0", "was made to fail")
    level = next(line for line in lines if line["grain"] == "level")
    assert (level["slide"], level["level"], level["cause"], level["reason"]) == (
        "made://slide_2",
        1,
        "unreadable level",
        "bad huffman code",
    )
    assert len(level["fingerprint"]) == 16
    assert level["time"].endswith("+00:00")
    region = next(line for line in lines if line["grain"] == "region")
    assert {"x", "y", "level"} <= set(region)


def test_a_log_that_cannot_be_written_stops_the_stream(tmp_path):
    (tmp_path / "file").touch()
    pipeline = stream(
        backend=SyntheticBackend(failing=frozenset({"made://slide_0"})),
        quarantine_log=tmp_path / "file" / "log.jsonl",
    )
    with pytest.raises(InputError, match="cannot be written"):
        places(pipeline, 30)


# Errors that pass


def failing_first(num, error):
    """Return a call that raises the first times it is called with something."""
    calls = Counter()

    def call(*args):
        calls[args] += 1
        if calls[args] <= num:
            raise error(args[0])

    return call


def stale(path):
    error = SlideReadError(path, "cannot read")
    error.__cause__ = OSError(errno.ESTALE, "stale handle")
    return error


@pytest.mark.parametrize(
    "error",
    [
        stale,
        lambda path: OSError(errno.EIO, "i/o"),
        lambda path: TimeoutError("slow"),
        lambda path: SlideReadError(path, "read failed: Input/output error"),
    ],
    ids=["stale handle", "input or output", "timeout", "in words"],
)
def test_errors_that_pass_change_no_sample(error):
    drawn = places(stream(), 30)
    passing = Faults(reading=failing_first(2, error), opening=failing_first(1, error))
    pipeline = stream(backend=passing)
    assert places(pipeline, 30) == drawn
    assert pipeline.stats.quarantined == {}


def test_errors_that_do_not_pass_count_after_the_last_try():
    always = Faults(reading=failing_first(99, lambda path: OSError(errno.EIO, "i/o")))
    pipeline = stream(1, backend=always, max_candidates=4)
    with pytest.raises(StreamStalledError, match="OSError"):
        next(iter(pipeline))


def test_an_error_of_the_file_itself_is_not_tried_again():
    calls = Counter()

    def reading(path, x, y, level):
        calls[x, y] += 1
        raise SlideReadError(path, "bad huffman code")

    pipeline = stream(1, backend=Faults(reading=reading))
    with pytest.raises(StreamStalledError):
        next(iter(pipeline))
    assert set(calls.values()) == {1}


def test_a_file_that_comes_back_is_used(tmp_path):
    gone = Counter()

    def opening(path):
        gone[path] += 1
        if gone[path] < 3:
            raise SlideOpenError(path, "does not exist")

    paths = [tmp_path / "a.svs"]
    paths[0].touch()
    pipeline = stream(slide_paths=paths, backend=Faults(opening=opening))
    paths[0].unlink()
    assert len(places(pipeline, 3)) == 3
    assert gone.total() == 3


# Reads that do not return


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_read_that_never_returns_is_reported_and_ends_the_stream(num_threads, caplog):
    release = threading.Event()

    def reading(path, x, y, level):
        if path == "made://slide_2":
            release.wait(300)

    pipeline = stream(
        backend=Faults(reading=reading),
        num_threads=num_threads,
        patience=Patience(warning_s=0.5, timeout_s=2.0),
    )
    message = r"no sample for \d+ s: reading made://slide_2 has been going on"
    with caplog.at_level(logging.WARNING), pytest.raises(StreamStalledError, match=message):
        places(pipeline, 40)
    release.set()
    assert any("reading made://slide_2 takes" in text for text in caplog.messages)
    for thread in threading.enumerate():
        if thread.name.startswith("eosin"):
            thread.join(100)


def test_a_read_that_takes_long_without_threads_is_reported(caplog):
    def reading(path, x, y, level):
        if path == "made://slide_2" and not is_warm.is_set():
            deadline = time.monotonic() + 120
            while "takes" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
            is_warm.set()

    is_warm = threading.Event()
    pipeline = stream(
        backend=Faults(reading=reading), patience=Patience(warning_s=0.05, timeout_s=120.0)
    )
    with caplog.at_level(logging.WARNING):
        places(pipeline, 20)
    assert any("reading made://slide_2 takes" in text for text in caplog.messages)

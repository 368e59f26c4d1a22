"""What the speedometer says adds up, and its advice fits what it saw."""

from dataclasses import dataclass, replace

import pytest

from eosin import speed
from eosin.backends.patch import read_patch
from eosin.errors import ConfigError
from eosin.filters import HSVPatchFilter, PatchFilter
from eosin.speed import StreamSpeed, describe, measure_stream
from eosin.transforms.base import Transform
from eosin.views import RandomResizedCrop, ViewConfig
from made_slides import break_tile, file_pipeline, synthetic_pipeline, write_folder

SPEED = StreamSpeed(
    num_patches=10,
    num_candidates=12,
    num_slides=3,
    readers={"tiff": 2, "openslide": 1},
    first_ms=50.0,
    cold_ms=12.0,
    warm_ms=10.0,
    read_ms=3.0,
    filter_ms=1.0,
    augment_ms=2.0,
    threaded_ms=2.0,
    num_threads=512,
)


def test_the_stages_of_a_stream_are_timed_on_what_it_read(tmp_path):
    pipeline = file_pipeline(
        write_folder(tmp_path / "slides"),
        patch_filter=HSVPatchFilter(),
        views=(ViewConfig(name="a", count=2, crop=RandomResizedCrop(size=32)),),
    )
    found = measure_stream(pipeline, num_patches=12, num_threads=2)
    assert (found.num_patches, found.num_threads) == (12, 2)
    assert found.num_candidates >= 12
    assert found.readers == {"openslide": found.num_slides}
    assert min(found.read_ms, found.filter_ms, found.augment_ms, found.threaded_ms) > 0
    assert found.first_ms <= 12 * found.cold_ms
    assert found.choose_ms < found.warm_ms


def test_tiles_that_cannot_be_read_are_left_out_of_the_timing(tmp_path):
    folder = write_folder(tmp_path / "slides", num_slides=1)
    for tile in (0, 1, 3, 4, 6):
        break_tile(folder / "0.svs", tile)
    found = measure_stream(file_pipeline(folder), num_patches=8, num_threads=1)
    assert found.num_candidates > 8
    assert found.read_ms > 0


class Clock:
    """Stands still but for what it is moved by, so that a stage takes what the test says."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()

    def read_in_a_second(slide, place):
        clock.now_s += 1.0
        return read_patch(slide, place)

    monkeypatch.setattr(speed, "time", clock)
    monkeypatch.setattr(speed, "read_patch", read_in_a_second)
    return clock


def test_stages_that_a_stream_has_not_take_no_time(clock):
    """Row 24 of the faults: this was asserted in milliseconds of a real clock."""
    found = measure_stream(synthetic_pipeline(cycle=True), num_patches=5, num_threads=1)
    assert (found.read_ms, found.filter_ms, found.augment_ms) == (1000.0, 0.0, 0.0)
    assert found.readers == {"synthetic": found.num_slides}


def test_each_stage_is_given_its_own_time(clock):
    @dataclass(frozen=True, kw_only=True)
    class Slow(PatchFilter):
        def accept(self, image):
            clock.now_s += 2.0
            return True

    @dataclass(frozen=True, kw_only=True)
    class Slower(Transform):
        def draw(self, rng, *, width, height):
            clock.now_s += 4.0
            return {}

        def replay(self, image, parameters):
            return image

    pipeline = synthetic_pipeline(cycle=True, patch_filter=Slow(), transforms=Slower())
    found = measure_stream(pipeline, num_patches=5, num_threads=1)
    assert (found.read_ms, found.filter_ms, found.augment_ms) == (1000.0, 2000.0, 4000.0)
    # The stream itself reads by another name, in no time.
    assert found.warm_ms == 6000.0
    assert found.choose_ms == 0.0


@pytest.mark.parametrize(("num_patches", "num_threads"), [(0, 1), (1, 0)])
def test_nothing_cannot_be_timed(num_patches, num_threads):
    with pytest.raises(ConfigError, match="must be at least 1"):
        measure_stream(synthetic_pipeline(), num_patches=num_patches, num_threads=num_threads)


def test_the_table_holds_shares_rates_and_readers():
    text = describe(SPEED)
    assert "3 slides, read by openslide (1), tiff (2)" in text
    assert "12 patches read, 10 accepted" in text
    assert "reading and decoding          3.00     30%" in text
    assert "choosing, the rest            4.00     40%" in text
    assert "100 patches/s (83 from a cold start)" in text
    assert "500 patches/s" in text
    assert text.endswith("- nothing stands out: decoding is the floor")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threaded_ms": 9.0}, "only 1.1 times as fast"),
        ({"num_threads": 1, "threaded_ms": 10.0}, "cores; try --num-threads"),
        ({"read_ms": 6.0}, "1 slides go through OpenSlide"),
        ({"cold_ms": 20.0}, "finding tissue takes long"),
        ({"num_candidates": 100}, "keeps only 10%"),
        ({"augment_ms": 5.0}, "augmentation takes most"),
    ],
)
def test_advice_names_what_stands_out(monkeypatch, change, says):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    advice = [line for line in describe(replace(SPEED, **change)).splitlines() if line[:2] == "- "]
    assert len(advice) == 1
    assert says in advice[0]


def test_a_stream_that_has_its_masks_is_not_told_to_keep_them():
    text = describe(replace(SPEED, cold_ms=20.0, has_masks=True))
    assert "finding tissue" not in text

"""Whatever the settings and whatever fails: a sample is the same however it is come by."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busy_stream import VIEWS, Striped, busy_pipeline, content, contents
from eosin.backends import SlideBackend, SyntheticBackend
from eosin.backends.crash import CrashLog
from eosin.catalog import SlideEntry, SlideWeights
from eosin.errors import ConfigError, SlideOpenError, SlideReadError, StreamStalledError
from eosin.filters import PatchFilter
from eosin.pipeline import PatchPipeline
from eosin.sampling import (
    ContinuousMagnificationSampler,
    GridSampler,
    MultiMagnificationSampler,
    RandomSampler,
)
from eosin.stream.retry import Retry
from eosin.stream.watch import Patience
from eosin.tissue import HSVTissueDetector
from eosin.tissue.store import MaskStore
from eosin.transforms import HEDColorAugmentation, RandomFlipRotate
from faulty_slides import Faults, FaultySlide

NUM = 14
"""Samples that are compared."""


@dataclass(frozen=True, kw_only=True)
class Breaking(PatchFilter):
    """Breaks on some patches and turns away some others."""

    def accept(self, image):
        return 6 // (int(image[0, 0, 0]) % 4) > 2


SAMPLERS = (
    RandomSampler(patch_size=32),
    MultiMagnificationSampler(target_mpps=(0.25, 0.5, 2.0), patch_size=32),
    # No slide has a place for the coarse one, so every other sample leaves it to the fine one.
    MultiMagnificationSampler(target_mpps=(0.25, 4.0), patch_size=150, tissue_threshold=0.9),
    ContinuousMagnificationSampler(output_size=32),
)
FACTORS = (0.0, 1e-30, 0.2, 1.0, 3.0)


def share_of(*what):
    """Return a number from 0 to 1 that depends on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:4]) / 2**32


@dataclass(frozen=True, kw_only=True)
class Damaged(SlideBackend):
    """Small synthetic slides of which a share cannot be opened, nor levels and regions read."""

    salt: int
    share_bad: float

    def open(self, path):
        if share_of(self.salt, "open", path) < self.share_bad / 2:
            raise SlideOpenError(path, "no slide")
        return FaultySlide(SyntheticBackend(width_l0=1600, height_l0=1200).open(path), self)

    def reading(self, path, x, y, level):
        is_dead = share_of(self.salt, "level", path, level) < self.share_bad / 2
        if is_dead or share_of(self.salt, "region", path, x // 64, level) < self.share_bad / 2:
            raise SlideReadError(path, f"bad tile {x // 64}")


CASES = st.fixed_dictionaries(
    {
        "num_slides": st.sampled_from((4, 1, 2, 6)),
        "salt": st.integers(0, 99),
        "share_bad": st.sampled_from((0.3, 0.0, 0.7)),
        "sampler": st.integers(0, len(SAMPLERS) - 1),
        "is_weighted": st.booleans(),
        "is_dealt": st.booleans(),
        "is_random": st.booleans(),
        "patch_filter": st.sampled_from((None, Striped, Breaking)),
        "has_views": st.booleans(),
        "numbers": st.fixed_dictionaries(
            {
                "seed": st.integers(0, 9),
                "num_lanes": st.integers(1, 3),
                "pool_size": st.integers(1, 3),
                "patches_per_slide": st.integers(1, 5),
                "patches_per_visit": st.integers(1, 3),
                "max_candidates": st.integers(1, 6),
            }
        ),
    }
)
"""Streams that do not end, in which a share of slides, levels and regions fails."""


def plan_of(case):
    """Return the settings of a stream."""
    salt = case["salt"]
    factors = [FACTORS[int(share_of(salt, n) * 5)] for n in range(case["num_slides"] - 1)] + [1.0]
    sampler = SAMPLERS[case["sampler"]]
    is_dealt = case["is_dealt"] and not sampler.sizes_vary

    return {
        **case["numbers"],
        "slide_paths": tuple(
            SlideEntry(path=f"made://slide_{n}", metadata={"factor": factor})
            for n, factor in enumerate(factors)
        ),
        "backend": Damaged(salt=salt, share_bad=case["share_bad"]),
        "tissue_detector": HSVTissueDetector(),
        "sampler": sampler,
        "patch_filter": case["patch_filter"] and case["patch_filter"](),
        "views": VIEWS if case["has_views"] else None,
        "shared_transforms": HEDColorAugmentation() if case["has_views"] else None,
        "transforms": None if case["has_views"] else RandomFlipRotate(),
        "cycle": True,
        "slide_sampling": "random" if case["is_random"] or case["is_weighted"] else "sequential",
        "weights": SlideWeights(column="factor") if case["is_weighted"] else None,
        "replacement": "without_replacement" if is_dealt else "with_replacement",
        "max_quarantined_fraction": 1.0,
        "retry": Retry(delays_s=(0.0,)),
    }


def stream(case, **others):
    return PatchPipeline(**plan_of(case), **others)


def outcome(pipeline, index):
    """Return a sample's content, or that there is none."""
    try:
        return content(pipeline.read(index))
    except StreamStalledError:
        return "stalled"


def whole_or_stalled(results):
    """Return contents up to where the stream stalls."""
    made = []
    try:
        made.extend(content(result) for result in results)
    except StreamStalledError:
        made.append("stalled")
    return made


@settings(max_examples=20)
@given(
    case=CASES,
    order=st.permutations(range(NUM)),
    cut=st.integers(0, NUM),
    num_open=st.integers(1, 4),
    num_threads=st.integers(1, 3),
)
def test_no_history_thread_or_copy_changes_a_sample_whatever_fails(
    case, order, cut, num_open, num_threads
):
    alone = [outcome(stream(case), index) for index in range(NUM)]
    one = stream(case, max_open_slides=num_open)
    assert [outcome(one, index) for index in order] == [alone[index] for index in order]
    until = alone.index("stalled") + 1 if "stalled" in alone else NUM
    # Again, with all that failed before in quarantine, read ahead by threads.
    warm = stream(case, num_threads=num_threads)
    for _ in range(2):
        assert whole_or_stalled(warm.samples(range(NUM))) == alone[:until]
    first = stream(case)
    first.next_index = cut
    resumed = stream(case, num_threads=num_threads)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert resumed.next_index == cut
    copied = pickle.loads(pickle.dumps(resumed))
    assert whole_or_stalled(copied.samples(range(cut, until))) == alone[cut:until]


def test_such_streams_turn_away_enough_and_deliver_enough_to_mean_something():
    outcomes = []

    @settings(max_examples=40)
    @given(case=CASES)
    def collect(case):
        pipeline = stream(case)
        outcomes.extend(outcome(pipeline, index) for index in range(4))

    collect()
    delivered = [made for made in outcomes if made != "stalled"]
    assert 0.3 * len(outcomes) < len(delivered) < len(outcomes)
    causes = {rejection.cause for made in delivered for rejection in made[3]}
    assert causes >= {
        "no place",
        "unreadable region",
        "unusable slide",
        "Striped",
        "Breaking failed",
    }


# Errors that pass


def test_reads_that_pass_at_the_second_try_change_no_sample_however_many_failed_before():
    def make():
        calls = {}

        def reading(path, x, y, level):
            # Some places stay broken, others fail once on each handle that is new to them.
            calls[path, x, y] = calls.get((path, x, y), 0) + 1
            if share_of("stays", path, x // 64) < 0.4 or calls[path, x, y] == 1:
                raise OSError(5, "i/o")

        backend = Faults(reading=reading)
        return busy_pipeline(backend=backend, retry=Retry(delays_s=(0.0,)))

    warm = make()
    passed = contents(warm, 30)
    given_up = [count for count in warm._store._num_given_up.values() if count > 3]
    assert given_up
    assert [content(make().read(index)) for index in range(0, 30, 3)] == passed[::3]


def test_an_error_that_stays_is_not_waited_for():
    def reading(path, x, y, level):
        raise SlideReadError(path, "bad huffman code")

    pauses = []
    retry = Retry(delays_s=(1.0,))
    pipeline = busy_pipeline(backend=Faults(reading=reading), retry=retry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", pauses.append)
        with pytest.raises(StreamStalledError, match="bad huffman code"):
            pipeline.read(0)
    assert pauses == []


def test_slides_on_a_disk_that_is_gone_are_not_all_waited_for(tmp_path):
    gone = tuple(SlideEntry(path=str(tmp_path / f"{n}.svs")) for n in range(40))
    here = tuple(SlideEntry(path=f"made://slide_{n}") for n in range(2))
    tried = []

    def opening(path):
        if path.endswith(".svs"):
            tried.append(path)
            raise SlideOpenError(path, "does not exist")

    pauses = []
    pipeline = busy_pipeline(
        slide_paths=(*gone, *here),
        backend=Faults(opening=opening),
        retry=Retry(delays_s=(1.0, 2.0)),
        max_quarantined_fraction=1.0,
        patches_per_slide=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", pauses.append)
        contents(pipeline, 40)
    assert set(tried) == {entry.path for entry in gone}
    # Each is tried as often, but only the first sixteen are waited for.
    assert len(tried) == 3 * 40
    assert sum(pauses) == 16 * 3.0


# Copies and other processes


EVERY_OPTION = {
    "where": "factor > 0",
    "weights": SlideWeights(column="factor"),
    "replacement": "without_replacement",
    "patch_filter": Striped(),
    "max_open_slides": 3,
    "num_threads": 2,
    "prefetch_bytes": 10_000,
    "patches_per_visit": 2,
    "max_candidates": 9,
    "retry": Retry(delays_s=(0.5,)),
}


def test_a_stream_with_every_option_crosses_processes_and_goes_on(tmp_path):
    table = tmp_path / "slides.csv"
    rows = [f"made://slide_{n},{n}" for n in range(5)]
    table.write_text("\n".join(["path,factor", *rows]))
    logs = {
        "manifest": tmp_path / "manifest",
        "quarantine_log": tmp_path / "quarantine.jsonl",
        "mask_store": MaskStore(tmp_path / "masks"),
        "crash_log": CrashLog(tmp_path / "crashes"),
        "patience": Patience(warning_s=20.0, timeout_s=50.0),
    }
    pipeline = busy_pipeline(slide_paths=table, **EVERY_OPTION, **logs)
    whole = contents(pipeline, 20)
    table.unlink()
    other = pickle.loads(pickle.dumps(pipeline))
    other.next_index = 8
    assert contents(other, 12) == whole[8:]
    assert other.settings == pipeline.settings
    assert other.slides == pipeline.slides == tuple(f"made://slide_{n}" for n in range(1, 5))


PROGRAM = """
import hashlib, sys
sys.path[:0] = [{tests!r}]
from busy_stream import Striped, busy_pipeline, contents
for replacement in ("with_replacement", "without_replacement"):
    pipeline = busy_pipeline(
        num_threads=2, replacement=replacement, patch_filter=Striped()
    )
    drawn = contents(pipeline, 20)
    print(hashlib.sha256(repr((drawn, pipeline.state_dict())).encode()).hexdigest())
"""


def test_processes_that_hash_differently_draw_the_same():
    program = PROGRAM.format(tests=str(Path(__file__).parents[1]))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    told = [process.communicate(timeout=300)[0].split() for process in processes]
    assert len(told[0]) == 2
    assert told[0] == told[1]


# Settings that cannot be kept


def test_cells_of_ever_new_sizes_are_refused():
    with pytest.raises(ConfigError, match="ContinuousMagnificationSampler draws a new one"):
        busy_pipeline(
            sampler=ContinuousMagnificationSampler(output_size=32),
            replacement="without_replacement",
        )


@pytest.mark.parametrize("cycle", [False, True])
@pytest.mark.parametrize("slide_sampling", ["sequential", "random"])
def test_a_sample_of_a_grid_is_the_same_alone(cycle, slide_sampling):
    def make(**others):
        return busy_pipeline(
            sampler=GridSampler(patch_size=200),
            num_lanes=1,
            cycle=cycle,
            patch_filter=Striped(),
            slide_sampling=slide_sampling,
            **others,
        )

    for made in contents(make(num_threads=2), 160)[::23]:
        assert content(make().read(made[0])) == made

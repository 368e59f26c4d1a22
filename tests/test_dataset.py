import gc
import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import final

import jaxtyping
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info

from eosin.backends import SlideBackend, SyntheticBackend
from eosin.backends.crash import CrashLog
from eosin.catalog import SlideEntry
from eosin.dataset import PatchDataset, PatchLoader, Workers
from eosin.errors import CheckpointError, ConfigError, StreamStalledError
from eosin.filters import HSVPatchFilter
from eosin.transforms import HEDColorAugmentation
from eosin.views import RandomResizedCrop, ViewConfig
from made_slides import file_pipeline, synthetic_pipeline, write_folder

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

VIEWS = (
    ViewConfig(name="global", crop=RandomResizedCrop(size=28, scale=(0.32, 1.0)), count=2),
    ViewConfig(name="local", crop=RandomResizedCrop(size=14), count=3),
)
BATCH = 8
LAYOUTS = [(1, 1), (1, 4), (2, 2), (4, 1)]
"""Ranks, and workers of each."""


def endless(num_slides=6, **settings):
    defaults = {"cycle": True, "num_lanes": 4, "pool_size": 2, "slide_sampling": "random"}
    return synthetic_pipeline(num_slides, **{**defaults, **settings})


def training_stream(num_slides=6, **settings):
    return endless(num_slides, views=VIEWS, shared_transforms=HEDColorAugmentation(), **settings)


def in_worker(monkeypatch, worker_id, num_workers):
    info = SimpleNamespace(id=worker_id, num_workers=num_workers) if num_workers > 1 else None
    monkeypatch.setattr("eosin.dataset.get_worker_info", lambda: info)


def pixels(batch):
    """Return index -> place and pixels of one rank's part of a batch."""
    return {
        int(index): (
            batch["slide_path"][row],
            int(batch["x"][row]),
            int(batch["y"][row]),
            {name: images[row].numpy().tobytes() for name, images in batch["images"].items()},
        )
        for row, index in enumerate(batch["index"])
    }


def global_batches(pipeline, num, *, ranks=1, workers=0, **settings):
    """Return so many global batches of a layout, and the state after them."""
    made = []
    for rank in range(ranks):
        loader = PatchLoader(
            pickle.loads(pickle.dumps(pipeline)),
            batch_size=BATCH,
            rank=rank,
            world_size=ranks,
            workers=Workers(num=workers, **settings),
        )
        made.append(list(islice(loader, num)))
        state = loader.state_dict()
        assert state["next_index"] == pipeline.next_index + num * BATCH
    assert all(list(pixels(batch)) == sorted(pixels(batch)) for part in made for batch in part)
    joined = []
    for parts in zip(*made, strict=True):
        whole = {index: what for part in parts for index, what in pixels(part).items()}
        assert len(whole) == BATCH
        assert len({part["next_index"] for part in parts}) == 1
        joined.append(dict(sorted(whole.items())))
    return joined, state


def alone(pipeline, indices):
    """Return the same samples, each read by itself."""
    batch = {}
    for index in indices:
        sample = pipeline.read(index)
        at = sample.coordinate
        views = {name: np.moveaxis(v, -1, 0).tobytes() for name, v in sample.views.items()}
        batch[index] = (at.slide_path, at.x, at.y, views)
    return batch


def children():
    return len(multiprocessing.active_children())


# PatchDataset


@pytest.mark.parametrize("num_threads", [0, 1, 2, 4])
@pytest.mark.parametrize(("world_size", "num_workers"), LAYOUTS)
def test_ranks_and_workers_together_deliver_every_sample_once(
    monkeypatch, world_size, num_workers, num_threads
):
    pipeline = training_stream(num_threads=num_threads)
    delivered = {}
    lanes = []
    for rank in range(world_size):
        for worker in range(num_workers):
            in_worker(monkeypatch, worker, num_workers)
            dataset = PatchDataset(
                pickle.loads(pickle.dumps(pipeline)), rank=rank, world_size=world_size
            )
            share = 32 // (world_size * num_workers)
            items = list(islice(dataset, share))
            indices = [item["index"] for item in items]
            assert indices == sorted(indices)
            assert {index % 4 % world_size for index in indices} == {rank}
            delivered |= {item["index"]: item["images"] for item in items}
            lanes.append({index % 4 for index in indices})
    assert sorted(delivered) == list(range(32))
    assert sum(len(own) for own in lanes) == 4
    for index, (_, _, _, views) in alone(training_stream(), range(0, 32, 5)).items():
        assert {name: v.numpy().tobytes() for name, v in delivered[index].items()} == views


def test_a_plain_data_loader_delivers_every_sample_once_and_the_same(tmp_path):
    pipeline = file_pipeline(write_folder(tmp_path / "slides"), num_lanes=2, pool_size=2)
    # The parent has slides open, which a forked worker must not read from.
    expected = {index: pipeline.read(index).image for index in range(16)}
    loader = DataLoader(
        PatchDataset(pipeline),
        batch_size=4,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context("fork"),
    )
    got = {}
    for batch in islice(loader, 4):
        for index, image in zip(batch["index"].tolist(), batch["images"]["image"], strict=True):
            got[index] = np.moveaxis(image.numpy(), 0, -1)
    assert sorted(got) == list(range(16))
    assert all((got[index] == expected[index]).all() for index in got)


def test_a_worker_reads_from_slides_of_its_own(monkeypatch):
    pipeline = endless()
    for index in range(8):
        pipeline.read(index)
    for ready in pipeline._store._ready.values():
        ready.slide.close()
    info = SimpleNamespace(id=0, num_workers=1)
    monkeypatch.setattr("eosin.dataset.get_worker_info", lambda: info)
    items = list(islice(PatchDataset(pipeline), 8))
    expected = [endless().read(index).coordinate for index in range(8)]
    assert [(item["x"], item["y"]) for item in items] == [(at.x, at.y) for at in expected]


def test_an_item_has_its_views_channels_first_and_its_place():
    pipeline = training_stream()
    item = next(iter(PatchDataset(pipeline)))
    sample = pipeline.read(0)
    assert set(item["images"]) == {"global_0", "global_1", "local_0", "local_1", "local_2"}
    assert item["images"]["local_1"].shape == (3, 14, 14)
    assert item["images"]["local_1"].dtype == torch.uint8
    at = sample.coordinate
    assert (item["x"], item["y"], item["mpp"]) == (at.x, at.y, at.mpp)


def test_a_dataset_begins_at_the_cursor_and_goes_on_in_its_next_iteration():
    pipeline = endless()
    pipeline.next_index = 10
    dataset = PatchDataset(pipeline, rank=1, world_size=2)
    assert [item["index"] for item in islice(dataset, 3)] == [11, 13, 15]
    assert [item["index"] for item in islice(dataset, 2)] == [17, 19]


def test_a_workers_state_goes_on_in_the_same_worker(monkeypatch):
    in_worker(monkeypatch, 1, 2)
    first, second, whole = (PatchDataset(endless(num_threads=2)) for _ in range(3))
    expected = [item["index"] for item in islice(whole, 9)]
    assert [item["index"] for item in islice(first, 4)] == expected[:4]
    second.load_state_dict(first.state_dict())
    assert [item["index"] for item in islice(second, 5)] == expected[4:] == [9, 11, 13, 15, 17]


@pytest.mark.parametrize(
    ("settings", "shares", "what"),
    [
        ({}, {"rank": 2, "world_size": 2}, "rank=2 must be below world_size=2"),
        ({}, {"rank": 0, "world_size": 3}, "cannot be shared by 3 ranks"),
        ({"cycle": False, "num_lanes": 1}, {}, "cycle=False"),
        ({"manifest": Path("manifest")}, {}, "manifest=manifest is written by one process"),
    ],
)
def test_streams_that_cannot_be_shared_are_refused(settings, shares, what):
    with pytest.raises(ConfigError, match=what):
        PatchDataset(endless(**settings), **shares)


def test_workers_that_do_not_divide_the_lanes_are_refused(monkeypatch):
    in_worker(monkeypatch, 0, 3)
    with pytest.raises(ConfigError, match="num_lanes=4 must be a multiple of 1 ranks times 3"):
        next(iter(PatchDataset(endless())))


# PatchLoader


@pytest.fixture(scope="module")
def whole():
    """Twelve batches, sample by sample; the second pass over the slides begins in the seventh."""
    stream = training_stream(3, patches_per_slide=4)
    made = [alone(stream, range(n * BATCH, (n + 1) * BATCH)) for n in range(12)]
    assert {stream.order.slot_of(index) // 3 for index in range(12 * BATCH)} >= {0, 1, 2}
    return made


def stream_of(**settings):
    return training_stream(3, patches_per_slide=4, **settings)


@pytest.mark.parametrize("num_threads", [0, 1, 2, 4])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_and_threads_change_no_batch(whole, ranks, num_threads):
    made, _ = global_batches(stream_of(num_threads=num_threads), 4, ranks=ranks)
    assert made == whole[:4]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 4), (2, 2)])
def test_worker_processes_change_no_batch_nor_its_order(whole, ranks, workers):
    stream = stream_of(num_threads=2)
    made, _ = global_batches(stream, 4, ranks=ranks, workers=workers, start_method="fork")
    assert made == whole[:4]
    assert children() == 0


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_other_start_methods_change_no_batch(whole, start_method):
    made, _ = global_batches(stream_of(num_threads=1), 3, workers=1, start_method=start_method)
    assert made == whole[:3]


def test_stopping_after_any_batch_and_going_on_with_another_layout_changes_nothing(whole):
    made = []
    stream = stream_of()
    layouts = [(1, 0, 0), (2, 0, 2), (1, 2, 1), (4, 0, 1), (1, 4, 0), (2, 0, 0)]
    for (ranks, workers, threads), num in zip(layouts, (1, 3, 2, 1, 2, 3), strict=True):
        resumed = stream_of(num_threads=threads)
        resumed.load_state_dict(stream.state_dict())
        batches, state = global_batches(
            resumed, num, ranks=ranks, workers=workers, start_method="fork"
        )
        made += batches
        stream.load_state_dict(state)
    assert made == whole


@pytest.mark.parametrize("persistent", [False, True])
def test_a_second_epoch_goes_on_instead_of_repeating(whole, persistent):
    loader = PatchLoader(
        stream_of(),
        batch_size=BATCH,
        workers=Workers(num=2, start_method="fork", are_persistent=persistent, prefetch_factor=3),
    )
    made = [pixels(batch) for num in (1, 3, 2) for batch in islice(loader, num)]
    assert made == whole[:6]
    loader.load_state_dict({**loader.state_dict(), "next_index": 2 * BATCH})
    assert [pixels(batch) for batch in islice(loader, 2)] == whole[2:4]
    del loader
    gc.collect()
    assert children() == 0


def test_a_batch_carries_the_state_after_it():
    loader = PatchLoader(endless(), batch_size=4)
    batches = iter(loader)
    for expected in (4, 8, 12):
        assert next(batches)["next_index"] == expected == loader.state_dict()["next_index"]


def test_the_state_of_other_settings_is_refused_by_a_loader():
    loader = PatchLoader(endless(), batch_size=4)
    with pytest.raises(CheckpointError, match="seed"):
        loader.load_state_dict(endless(seed=8).state_dict())


def test_a_stream_that_stalls_in_a_worker_stops_the_loader_and_says_why():
    never = HSVPatchFilter(min_pixel_fraction=1.0, val_range=(255, 255))
    loader = PatchLoader(
        endless(patch_filter=never, max_candidates=2),
        batch_size=4,
        workers=Workers(num=1, start_method="fork"),
    )
    with pytest.raises(StreamStalledError, match="100% HSVPatchFilter") as caught:
        next(iter(loader))
    del caught
    gc.collect()
    assert children() == 0


@pytest.mark.parametrize(
    ("batch_size", "num_workers", "what"),
    [
        (6, 4, "batch_size=6 must be a multiple of 1 ranks times 4 workers"),
        (0, 0, "batch_size=0"),
        (6, 3, "num_lanes=4 must be a multiple of 1 ranks times 3 workers"),
    ],
)
def test_batches_that_cannot_be_shared_out_are_refused(batch_size, num_workers, what):
    with pytest.raises(ConfigError, match=what):
        PatchLoader(endless(), batch_size=batch_size, workers=Workers(num=num_workers))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (DataLoader, TypeError, "an eosin.dataset.PatchDataset(pipeline)"),
        (
            lambda stream: DataLoader(stream, batch_size=None, shuffle=True),
            TypeError,
            "eosin.dataset.PatchLoader(pipeline, batch_size=...)",
        ),
        (
            lambda stream: PatchLoader(stream, batch_size=4, workers=2),
            ConfigError,
            "workers=2 must be Workers, which also say how they start; give workers=Workers(num=2)",
        ),
        (
            lambda stream: PatchLoader(PatchDataset(stream), batch_size=4),
            ConfigError,
            "pipeline is a PatchDataset and must be a PatchPipeline",
        ),
        (lambda stream: PatchDataset("slides"), ConfigError, "pipeline is a str"),
        (lambda stream: Workers(num=-1), ConfigError, "num=-1 must be at least 0"),
        (lambda stream: Workers(start_method="thread"), ConfigError, "one of spawn, fork, forkser"),
    ],
)
def test_what_people_try_first_says_what_to_use(monkeypatch, make, error, says):
    """Section E of the faults: these ended in errors of torch and of Python."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=re.escape(says)):
        list(islice(make(endless()), 1))


def test_a_stream_without_a_length_can_be_listed_and_is_true():
    assert len(list(synthetic_pipeline())) == 20
    assert synthetic_pipeline()
    with pytest.raises(TypeError, match="has no length"):
        len(synthetic_pipeline())


def test_an_iteration_that_is_dropped_leaves_no_thread_process_or_file(tmp_path):
    folder = write_folder(tmp_path / "slides")
    stream = file_pipeline(folder, num_lanes=2, pool_size=2, num_threads=2)
    loader = PatchLoader(stream, batch_size=4, workers=Workers(num=2, start_method="fork"))

    def open_files():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    list(islice(loader, 1))
    before = open_files()
    for _ in range(3):
        list(islice(loader, 2))
    assert open_files() <= before
    assert children() == 0
    assert [t.name for t in threading.enumerate() if t.name.startswith("eosin")] == []


PROGRAM = """
import signal, sys, warnings
sys.path[:0] = [{tests!r}]
signal.signal(signal.SIGINT, signal.default_int_handler)
warnings.simplefilter("ignore")
from eosin.dataset import PatchLoader, Workers
from made_slides import synthetic_pipeline
stream = synthetic_pipeline(6, cycle=True, num_lanes=2, num_threads=2)
for batch in PatchLoader(stream, batch_size=4, workers=Workers(num=2, start_method="fork")):
    if batch["next_index"] == 12:
        print("begun", flush=True)
"""


def test_ctrl_c_ends_a_loader_with_its_workers():
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)
        # Returns when the last of the workers has closed its end of the pipes.
        process.communicate(timeout=300)
    assert process.returncode == -signal.SIGINT


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CrashingBackend(SlideBackend):
    """Takes the process down when it opens one of its slides, as a broken codec would."""

    deadly: str

    def open(self, path):
        if str(path).endswith(self.deadly) and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGSEGV)
        return SyntheticBackend().open(path)


def test_a_worker_that_a_slide_takes_down_is_replaced_and_the_slide_left_out(tmp_path, caplog):
    def loader(backend):
        pipeline = endless(
            6, backend=backend, crash_log=CrashLog(tmp_path), max_quarantined_fraction=1.0
        )
        return PatchLoader(pipeline, batch_size=8, workers=Workers(num=2, start_method="fork"))

    batches = loader(CrashingBackend(deadly="slide_3"))
    taken = list(islice(batches, 6))
    assert [batch["next_index"] for batch in taken] == [8, 16, 24, 32, 40, 48]
    assert "a worker died reading made://slide_3" in caplog.text
    assert not any("slide_3" in path for batch in taken for path in batch["slide_path"])
    # From now on failing is the same as never having been there to try.
    again = list(islice(loader(SyntheticBackend(failing=frozenset({"made://slide_3"}))), 6))
    assert [pixels(batch) for batch in taken] == [pixels(batch) for batch in again]


def test_a_worker_that_dies_without_a_crash_log_is_an_error():
    pipeline = endless(6, backend=CrashingBackend(deadly="slide_3"))
    loader = PatchLoader(pipeline, batch_size=8, workers=Workers(num=2, start_method="fork"))
    with pytest.raises(RuntimeError, match="worker"):
        list(islice(loader, 6))


def test_batches_carry_the_columns_of_their_slides_in_order():
    entries = tuple(
        SlideEntry(path=f"made://slide_{n}", metadata={"patient": f"p{n}", "age": 40.0 + n})
        for n in range(6)
    )
    loader = PatchLoader(endless(slide_paths=entries), batch_size=8)
    batch = next(iter(loader))
    for path, text in zip(batch["slide_path"], batch["slide_metadata"], strict=True):
        number = path[-1]
        columns = json.loads(text)
        assert (columns["patient"], columns["age"]) == (f"p{number}", 40.0 + int(number))

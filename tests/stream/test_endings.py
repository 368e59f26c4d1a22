import gc
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from busy_stream import busy_pipeline, content, contents, threads_alive
from eosin.backends.tiff import TiffBackend
from eosin.filters import PatchFilter
from eosin.pipeline import PatchPipeline
from eosin.sampling import RandomSampler
from eosin.tissue import HSVTissueDetector
from made_slides import file_pipeline, synthetic_pipeline, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "slides")


def test_no_thread_is_left_after_a_break():
    for _ in busy_pipeline(num_threads=3):
        break
    gc.collect()
    assert threads_alive() == []


def test_no_thread_is_left_after_an_exception_in_the_loop():
    def fail():
        for _ in busy_pipeline(num_threads=3):
            raise LookupError

    with pytest.raises(LookupError) as caught:
        fail()
    del caught
    gc.collect()
    assert threads_alive() == []


def test_no_thread_is_left_after_the_stream_has_ended():
    assert len(list(synthetic_pipeline(num_threads=3))) == 20
    assert threads_alive() == []


def test_no_thread_is_left_after_the_iterator_is_forgotten():
    samples = iter(busy_pipeline(num_threads=3))
    next(samples)
    assert len(threads_alive()) == 3
    del samples
    gc.collect()
    assert threads_alive() == []


def test_closing_while_threads_read_ahead_breaks_nothing(folder):
    undisturbed = contents(file_pipeline(folder), 30)
    pipeline = file_pipeline(folder, num_threads=3)
    samples = iter(pipeline)
    disturbed = []
    for _ in range(30):
        disturbed.append(content(next(samples)))
        pipeline.close()
    assert disturbed == undisturbed


def open_files():
    gc.collect()
    links = list(Path("/proc/self/fd").iterdir())
    return sorted(str(link.readlink()) for link in links if link.is_symlink())


def test_no_file_is_left_open_after_a_stream_is_closed_dropped_or_interrupted(folder):
    def direct():
        # This reader keeps a file open for each slide; OpenSlide hides whether it does.
        return PatchPipeline(
            slide_paths=folder,
            backend=TiffBackend(),
            tissue_detector=HSVTissueDetector(),
            sampler=RandomSampler(patch_size=64, target_mpp=0.5),
            cycle=True,
            num_threads=2,
        )

    def interrupt():
        for result in direct():
            if result.index == 5:
                raise KeyboardInterrupt

    before = open_files()
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupt()
    del caught
    assert open_files() == before
    pipeline = direct()
    contents(pipeline, 5)
    assert len(set(open_files()) - set(before)) == 3
    pipeline.close()
    assert open_files() == before
    assert threads_alive() == []


def test_large_samples_are_not_read_far_ahead():
    reads = []

    @dataclass(frozen=True, kw_only=True)
    class Counting(PatchFilter):
        def accept(self, image):
            reads.append(1)
            return True

    settings = {"patch_filter": Counting(), "num_threads": 2, "cycle": True}
    samples = iter(synthetic_pipeline(prefetch_bytes=3 * 32 * 32 * 3, **settings))
    for _ in range(60):
        next(samples)
    deadline = time.monotonic() + 120
    while len(reads) <= 60 and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.1)
    assert 60 < len(reads) <= 64
    samples.close()

"""One damaged slide in a process of its own: what happened, and did the others notice?"""

import json
import os
import resource
import select
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from eosin.backends import AutoBackend, MppPolicy
from eosin.errors import SlideError
from eosin.pipeline import PatchPipeline
from eosin.sampling import RandomSampler
from eosin.tissue import HSVTissueDetector

TIME_LIMIT_S = 60
MEMORY_BYTES = 6 * 2**30
_NUM_SAMPLES = 18


def stream(slides: list[Path]) -> PatchPipeline:
    """Return a stream that visits every slide."""
    return PatchPipeline(
        slide_paths=slides,
        backend=AutoBackend(mpp=MppPolicy(missing="assume", assumed_mpp=0.5)),
        tissue_detector=HSVTissueDetector(),
        sampler=RandomSampler(patch_size=128, level=0, tissue_threshold=0.1),
        pool_size=len(slides),
        patches_per_slide=_NUM_SAMPLES // len(slides),
        max_candidates=4,
        max_quarantined_fraction=1.0,
    )


def samples_of(slides: list[Path]) -> list[list[object]]:
    """Return slide name and a checksum of place and pixels of the first samples."""
    pipeline = stream(slides)
    found: list[list[object]] = []
    for index in range(_NUM_SAMPLES):
        result = pipeline.read(index)
        at = result.coordinate
        checksum = zlib.crc32(result.image.tobytes(), zlib.crc32(f"{at.x} {at.y}".encode()))
        found.append([Path(at.slide_path).name, checksum])
    return found


def read_everywhere(path: Path) -> str:
    """Open a slide, look at its thumbnail and at places of each level; say how far it went."""
    try:
        slide = AutoBackend(mpp=MppPolicy(missing="assume", assumed_mpp=0.5)).open(path)
    except SlideError as error:
        assert error.reason
        return "refused"
    num_failed = 0
    info = slide.info
    for level in range(len(info.levels)):
        for part in range(1, 8):
            x, y = info.width_l0 * part // 8, info.height_l0 * part // 8
            try:
                slide.read_region(x, y, level, 300, 300)
            except SlideError as error:
                assert error.reason
                num_failed += 1
    try:
        slide.thumbnail(512)
    except SlideError:
        num_failed += 1
    return "opened, some regions fail" if num_failed else "opened, all regions read"


def judge(bad: Path, good: list[Path], expected: list[list[object]]) -> str:
    """Return what became of a damaged slide among good ones."""
    outcome = read_everywhere(bad)
    slides = [good[0], bad, *good[1:]]
    found = samples_of(slides)
    for index, sample in enumerate(expected):
        # The slide's own samples may go to another slide, or elsewhere on it; those of others not.
        is_its_own = index % len(slides) == slides.index(bad)
        if not is_its_own and found[index] != sample:
            return f"CHANGED sample {index} of {sample[0]}"
    return outcome


def in_own_process(
    task: Callable[[], object],
    time_limit_s: float = TIME_LIMIT_S,
    memory_bytes: int = MEMORY_BYTES,
) -> object:
    """Return a task's result, or how its process ended instead."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        try:
            result = task()
        except BaseException as error:
            result = f"UNNAMED {type(error).__name__}: {str(error)[:200]}"
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    try:
        return _wait(child, reader, time.monotonic() + time_limit_s)
    finally:
        os.close(reader)


def _wait(child: int, reader: int, end_s: float) -> object:
    content = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, end_s - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "HUNG"
        part = os.read(reader, 65536)
        if not part:
            break
        content += part
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"CRASHED by signal {os.WTERMSIG(status)}"
    return json.loads(content) if content else f"ENDED with {status}"

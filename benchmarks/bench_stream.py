"""The stream of Midnight on phantom slides: accepted patches a second, and where the time goes.

.venv/bin/python benchmarks/bench_stream.py [SLIDES]
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from machine import describe_machine

from eosin.backends import OpenSlideBackend, read_patch
from eosin.filters import HSVPatchFilter
from eosin.phantom import write_phantoms
from eosin.pipeline import PatchPipeline
from eosin.sampling import MultiMagnificationSampler
from eosin.tissue import HSVTissueDetector
from eosin.transforms import HEDColorAugmentation

NUM_PATCHES = 600
NUM_RUNS = 5


def pipeline(slides: str | list[Path], num_threads: int) -> PatchPipeline:
    return PatchPipeline(
        slide_paths=slides,
        backend=OpenSlideBackend(),
        tissue_detector=HSVTissueDetector(),
        patch_filter=HSVPatchFilter(),
        sampler=MultiMagnificationSampler(),
        transforms=HEDColorAugmentation(sigma=0.05),
        slide_sampling="random",
        cycle=True,
        num_threads=num_threads,
    )


def median_s(run: Callable[[], object]) -> float:
    durations = []
    for _ in range(NUM_RUNS):
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def read_floor(slides: str | list[Path]) -> Callable[[], object]:
    """Read the very regions that the stream reads, rejected ones included, and nothing else."""
    stream = pipeline(slides, 0)
    results = list(islice(stream, NUM_PATCHES))
    places = [
        place
        for result in results
        for place in (*(r.coordinate for r in result.rejections), result.coordinate)
        if place is not None
    ]
    open_slides = {path: OpenSlideBackend().open(path) for path in stream.slides}
    return lambda: [read_patch(open_slides[place.slide_path], place) for place in places]


def main() -> None:
    cv2.setNumThreads(0)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        slides: str | list[Path]
        slides = (
            sys.argv[1]
            if len(sys.argv) > 1
            else write_phantoms(Path(folder), num_slides=4, seed=1, num_workers=2)
        )
        floor_s = median_s(read_floor(slides))
        rows = [("reading alone (floor)", floor_s)]
        for num_threads in (0, 2):
            seconds = median_s(lambda n=num_threads: list(islice(pipeline(slides, n), NUM_PATCHES)))
            rows.append((f"stream, {num_threads} threads, cold start included", seconds))
        print("\n| what | accepted patches/s | of the floor |\n|---|---|---|")
        for name, seconds in rows:
            print(f"| {name} | {NUM_PATCHES / seconds:.0f} | {floor_s / seconds:.2f} |")
    patch = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    hed, rng = HEDColorAugmentation(sigma=0.05), np.random.default_rng(0)
    hed_s = median_s(lambda: [hed(patch, rng) for _ in range(200)]) / 200
    keep = HSVPatchFilter()
    hsv_s = median_s(lambda: [keep.accept(patch) for _ in range(200)]) / 200
    print(f"\nHED of 256 x 256 px: {hed_s * 1e3:.2f} ms; HSV filter: {hsv_s * 1e3:.2f} ms")


if __name__ == "__main__":
    main()

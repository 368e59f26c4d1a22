"""The same stream as peers/wsistream_stream.py, of eosin. Prints JSON in the same form."""

import argparse
import json
import os
import time

import cv2
import numpy as np

from eosin.backends import AutoBackend, OpenSlideBackend
from eosin.filters import HSVPatchFilter
from eosin.pipeline import PatchPipeline
from eosin.sampling import MultiMagnificationSampler
from eosin.tissue import HSVTissueDetector
from eosin.transforms import ComposeTransforms, HEDColorAugmentation

READERS = {"auto": AutoBackend, "openslide": OpenSlideBackend}


def midnight(slides: list[str], *, reader: str, num_threads: int) -> PatchPipeline:
    return PatchPipeline(
        slide_paths=slides,
        backend=READERS[reader](),
        tissue_detector=HSVTissueDetector(),
        patch_filter=HSVPatchFilter(min_pixel_fraction=0.6),
        sampler=MultiMagnificationSampler(
            target_mpps=(0.25, 0.5, 1.0, 2.0), patch_size=256, tissue_threshold=0.4
        ),
        transforms=ComposeTransforms(transforms=[HEDColorAugmentation(sigma=0.05)]),
        slide_sampling="random",
        pool_size=8,
        patches_per_slide=100,
        cycle=True,
        num_threads=num_threads,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("slides", nargs="+")
    parser.add_argument("--patches", type=int, default=2000)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--reader", choices=READERS, default="auto")
    arguments = parser.parse_args()
    if arguments.threads < 2:
        os.sched_setaffinity(0, {arguments.core})
    cv2.setNumThreads(0)
    begin = time.perf_counter()
    pipeline = midnight(arguments.slides, reader=arguments.reader, num_threads=arguments.threads)
    if arguments.warm:
        for _ in pipeline.samples(range(8 * len(arguments.slides))):
            pass
        pipeline.next_index = 8 * len(arguments.slides)
        begin = time.perf_counter()
    stream = iter(pipeline)
    next(stream)
    first = time.perf_counter() - begin
    for _ in range(arguments.patches - 1):
        next(stream)
    seconds = time.perf_counter() - begin
    patch = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    hed, rng = HEDColorAugmentation(sigma=0.05), np.random.default_rng(0)
    durations = []
    for _ in range(40):
        at = time.perf_counter()
        hed(patch, rng)
        durations.append(time.perf_counter() - at)
    result = {"s": seconds, "first_s": first, "hed_s": float(np.median(durations))}
    print(json.dumps({**result, "rejections": dict(pipeline.stats.rejections)}))


if __name__ == "__main__":
    main()

"""The peer's Midnight stream; run with the Python of an environment that has wsistream.

Prints JSON: seconds until the first and the last of --patches accepted patches, cold start counted,
or with --warm after enough patches for every slide's mask to be there.
"""

import argparse
import json
import os
import time

import cv2
import numpy as np
from wsistream.backends import OpenSlideBackend
from wsistream.filters import HSVPatchFilter
from wsistream.pipeline import PatchPipeline
from wsistream.sampling import MultiMagnificationSampler
from wsistream.tissue import HSVTissueDetector
from wsistream.transforms import ComposeTransforms, HEDColorAugmentation


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("slides", nargs="+")
    parser.add_argument("--patches", type=int, default=2000)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--warm", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    cv2.setNumThreads(0)
    begin = time.perf_counter()
    pipeline = PatchPipeline(
        slide_paths=arguments.slides,
        backend=OpenSlideBackend(),
        tissue_detector=HSVTissueDetector(),
        patch_filter=HSVPatchFilter(min_pixel_fraction=0.6),
        sampler=MultiMagnificationSampler(
            target_mpps=[0.25, 0.5, 1.0, 2.0],
            patch_size=256,
            num_patches=-1,
            tissue_threshold=0.4,
            seed=0,
        ),
        transforms=ComposeTransforms(transforms=[HEDColorAugmentation(sigma=0.05)]),
        slide_sampling="random",
        pool_size=8,
        patches_per_slide=100,
        cycle=True,
        seed=0,
        tissue_mask_cache_size=64 if arguments.warm else 0,
    )
    stream = iter(pipeline)
    if arguments.warm:
        for _ in range(8 * len(arguments.slides)):
            next(stream)
        begin = time.perf_counter()
    next(stream)
    first = time.perf_counter() - begin
    for _ in range(arguments.patches - 1):
        next(stream)
    seconds = time.perf_counter() - begin
    patch = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    hed = HEDColorAugmentation(sigma=0.05, seed=0)
    durations = []
    for _ in range(40):
        at = time.perf_counter()
        hed(patch)
        durations.append(time.perf_counter() - at)
    print(json.dumps({"s": seconds, "first_s": first, "hed_s": float(np.median(durations))}))


if __name__ == "__main__":
    main()

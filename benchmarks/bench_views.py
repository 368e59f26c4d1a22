"""One patch to DINOv2's ten normalised float views, against the same built from albumentations.

.venv/bin/python benchmarks/bench_views.py [--peer-python PYTHON]

Without --peer-python an environment with albumentations is made. One core; runs alternate.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from machine import describe_machine

from eosin.phantom import PhantomSpec, draw_phantom
from eosin.transforms import ComposeTransforms, NormalizeTransform
from eosin.transforms.dinov2 import dinov2_augmentation
from eosin.views import RandomResizedCrop, ViewConfig, draw_views, replay_views

HERE = Path(__file__).parent
NUM_RUNS = 7
NUM_PATCHES = 60
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def own_ms(patch_path: Path) -> float:
    cv2.setNumThreads(1)
    drawn = dinov2_augmentation()
    normalize = NormalizeTransform(mean=MEAN, std=STD)
    large = RandomResizedCrop(size=224, scale=(0.32, 1.0))
    small = RandomResizedCrop(size=98, scale=(0.05, 0.32))

    def view(name: str, crop: RandomResizedCrop, colours: ComposeTransforms, count: int = 1):
        return ViewConfig(
            name=name,
            crop=crop,
            transforms=ComposeTransforms(transforms=(*colours.transforms, normalize)),
            count=count,
        )

    views = (
        view("global_0", large, drawn.global_1),
        view("global_1", large, drawn.global_2),
        view("local", small, drawn.local, 8),
    )
    patch, rng = np.load(patch_path), np.random.default_rng(0)

    def ten() -> dict[str, np.ndarray]:
        parameters = draw_views(rng, None, views, width=256, height=256)
        return replay_views(patch, parameters, None, views)

    # A loader holds on to some results, so that memory does not come back at once.
    held: list[object] = [None] * 4
    ten()
    begin = time.perf_counter()
    for number in range(NUM_PATCHES):
        held[number % 4] = ten()
    return (time.perf_counter() - begin) / NUM_PATCHES * 1e3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer-python", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = arguments.peer_python
        if python is None:
            subprocess.run([sys.executable, "-m", "venv", folder / "peer"], check=True)
            pip = [folder / "peer/bin/pip", "install", "--quiet", "albumentations==2.0.8"]
            subprocess.run(pip, check=True)
            python = folder / "peer/bin/python"
        rgb, _ = draw_phantom(PhantomSpec(seed=1, width_l0=1024, height_l0=1024))
        patch_path = folder / "patch.npy"
        np.save(patch_path, rgb[300:556, 300:556])
        script = HERE / "peers" / "albumentations_views.py"
        environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
        ours, theirs = [], []
        for _ in range(NUM_RUNS):
            ours.append(own_ms(patch_path))
            command = [python, script, patch_path, str(NUM_PATCHES)]
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, check=True
            )
            theirs.append(json.loads(done.stdout.splitlines()[-1]) * 1e3)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    print(describe_machine())
    print(
        f"\n10 float views of a 256-px patch: {statistics.median(ours):.2f} ms, albumentations "
        f"2.0.8 {statistics.median(theirs):.2f} ms: {ratio:.2f} times"
    )


if __name__ == "__main__":
    main()

"""KDE against KoLeo against none, and stain augmentation or not: one short run after the other.

.venv/bin/python benchmarks/trial_regularisers.py train OUT SLIDE... [--steps 900] [--seeds 2]
.venv/bin/python benchmarks/trial_regularisers.py probe OUT --tiles DIR --patients DIR

`train` makes every arm of every seed from nano_cpu, two at a time with one thread each, and goes on
where it was. `probe` tries each teacher, and the mean of its last three, on tiles in train/ and
test/ (--tiles), and in PATIENT/CLASS/, of which every other patient is the test (--patients).
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from eosin.appraisal import initial_encoder
from eosin.embed.colour import ColourHistogram
from eosin.embed.encoder import Encoder, load_encoder, teacher_encoder
from eosin.evaluate.labelled import LabelledTiles
from eosin.evaluate.probe import ProbeResult, compare, probe
from eosin.evaluate.tiles import embed_tiles
from eosin.recipes import nano_cpu
from eosin.train.config import LossConfig, TrainConfig
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.transforms.flip import RandomFlipRotate
from eosin.watch.teacher import chosen_teacher

LOSSES = {
    "kde": LossConfig(kde_weight=0.2),
    "koleo": LossConfig(kde_weight=0.0, koleo_weight=0.1),
    "none": LossConfig(kde_weight=0.0),
    "kde_without_hed": LossConfig(kde_weight=0.2),
}
Parts = tuple[LabelledTiles, LabelledTiles]


def arm_config(arm: str, seed: int, steps: int) -> TrainConfig:
    config = nano_cpu.config()
    data = config.data
    if arm.endswith("without_hed"):
        data = replace(data, shared_transforms=RandomFlipRotate())
    return replace(
        config,
        data=data,
        losses=LOSSES[arm],
        seed=seed,
        steps=steps,
        checkpoint_every_steps=steps // 10,
        keep_checkpoints=3,
    )


def train_all(out: Path, slides: list[str], steps: int, seeds: int) -> None:
    script = Path(__file__).resolve()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

    def run(arm: str, seed: int) -> None:
        words = [arm, str(seed), str(steps), str(out / f"{arm}_{seed}"), *slides]
        subprocess.run([sys.executable, script, "arm", *words], env=environment, check=True)

    with ThreadPoolExecutor(2) as pool:
        arms = [(arm, seed) for seed in range(seeds) for arm in LOSSES]
        for (arm, seed), _ in zip(arms, pool.map(lambda one: run(*one), arms), strict=True):
            print(f"trained {arm}, seed {seed}", flush=True)


def patient_parts(folder: Path) -> Parts:
    """Return tiles of every other patient, all of one size, the patients as groups."""
    patients = sorted(path.name for path in folder.iterdir() if path.is_dir())
    classes = sorted({path.name for patient in patients for path in (folder / patient).iterdir()})
    parts = []
    for chosen in (patients[::2], patients[1::2]):
        found = [
            (path, label, patient)
            for label, name in enumerate(classes)
            for patient in chosen
            for path in sorted((folder / patient / name).glob("*.png"))
            if _is_square(path)
        ]
        paths, labels, groups = zip(*found, strict=True)
        parts.append(
            LabelledTiles(
                paths=paths,
                labels=np.asarray(labels, dtype=np.int64),
                class_names=tuple(classes),
                groups=groups,
            )
        )
    return parts[0], parts[1]


def _is_square(path: Path) -> bool:
    height, width = cv2.imread(str(path)).shape[:2]
    return height == width


def models_of(run: RunFolder) -> Iterator[tuple[str, Encoder]]:
    config = run.train_config
    yield "newest", load_encoder(run.path)
    mean = chosen_teacher(run, is_best=False, num_averaged=3)
    yield "mean of 3", teacher_encoder("mean of 3", mean.backbone, config)


def probed(encoder: Encoder, parts: Parts, name: str) -> list[ProbeResult]:
    return probe(embed_tiles(encoder, parts[0], name), embed_tiles(encoder, parts[1], name))


def print_row(name: str, found: list[ProbeResult], start: list[ProbeResult] | None) -> None:
    cells = []
    for number, result in enumerate(found):
        value = result.balanced_accuracy
        cells.append(f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]")
        if start is None:
            cells.append("-")
        else:
            more = compare(start[number], result).balanced_accuracy
            cells.append(f"{more.value:+.3f} [{more.low:+.3f}, {more.high:+.3f}]")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def probe_all(out: Path, sets: dict[str, Parts]) -> None:
    runs = [RunFolder(path) for path in sorted(out.iterdir()) if (path / "config.json").exists()]
    side = runs[0].train_config.data.global_px
    for name, parts in sets.items():
        print(f"\n{name}: {len(parts[1])} tiles from {len(parts[0])}, balanced accuracy\n")
        print("| model | kNN (20) | minus its start | linear | minus its start |")
        print("|---|---|---|---|---|")
        print_row("colour histogram", probed(ColourHistogram(side), parts, "colour"), None)
        starts: dict[int, list[ProbeResult]] = {}
        for run in runs:
            config = run.train_config
            if config.seed not in starts:
                starts[config.seed] = probed(initial_encoder(config), parts, "start")
                print_row(f"random start, seed {config.seed}", starts[config.seed], None)
            for which, encoder in models_of(run):
                found = probed(encoder, parts, f"{run.path.name}, {which}")
                print_row(f"{run.path.name}, {which}", found, starts[config.seed])


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["arm"]:
        arm, seed, steps, out, *slides = sys.argv[2:]
        site = Site(device="cpu", num_threads=1)
        train(arm_config(arm, int(seed), int(steps)), slides, Path(out), site=site)
        return
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train")
    training.add_argument("out", type=Path)
    training.add_argument("slides", nargs="+")
    training.add_argument("--steps", type=int, default=900)
    training.add_argument("--seeds", type=int, default=2)
    probing = verbs.add_parser("probe")
    probing.add_argument("out", type=Path)
    probing.add_argument("--tiles", type=Path, action="append", default=[])
    probing.add_argument("--patients", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    if arguments.verb == "train":
        train_all(arguments.out, arguments.slides, arguments.steps, arguments.seeds)
        return
    sets = {
        str(folder): (
            LabelledTiles.from_folder(folder / "train"),
            LabelledTiles.from_folder(folder / "test"),
        )
        for folder in arguments.tiles
    }
    sets |= {str(folder): patient_parts(folder) for folder in arguments.patients}
    probe_all(arguments.out, sets)


if __name__ == "__main__":
    main()

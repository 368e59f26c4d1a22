"""Whole runs on one or several processes, and how to compare what they measured."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Layout, Site
from eosin.train.student_teacher import StudentTeacher
from ranks import on_ranks
from train.tiny import tiny_config

TIMES = ("data_wait_s", "step_s", "patches_per_s")
LOSSES = ("loss", "grad_norm")
"""How the names of what all ranks compute together begin; gauges are means of each rank's own."""

Records = list[dict[str, float | int]]


class StoppedError(Exception):
    pass


class StopAt(Monitor):
    """Ends the run from inside at a step, before the step is written down, like a crash."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        if step == self.step:
            raise StoppedError
        return {}


def steady_config(**changes: object) -> TrainConfig:
    """Make a run without stochastic depth, whose draws depend on the number of ranks."""
    config = tiny_config(steps=4, checkpoint_every_steps=2, global_batch=8, **changes)
    return replace(
        config,
        model=replace(config.model, drop_path_rate=0.0),
        data=replace(config.data, num_lanes=4),
    )


def untimed(folder: Path) -> Records:
    """Return what a run measured, without what no two runs have in common."""
    records = RunFolder(folder).metrics()
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def run_on(
    num_ranks: int,
    config: TrainConfig,
    slides: Sequence[Path],
    folder: Path,
    layout: Layout | None = None,
) -> Records:
    """Train, or go on, and return what was measured."""
    layout = layout or Layout()

    def on_rank(rank: int) -> None:
        os.environ.update(WORLD_SIZE=str(num_ranks), RANK=str(rank), LOCAL_RANK=str(rank))
        train(config, list(slides), folder, site=Site(device="cpu", num_threads=1, layout=layout))

    if num_ranks == 1:
        train(config, list(slides), folder, site=Site(device="cpu", num_threads=1, layout=layout))
    else:
        on_ranks(num_ranks, on_rank)
    return untimed(folder)


def copy_stopped_at(step: int, folder: Path, copy: Path) -> Path:
    """Copy a run as it was when a step had been saved and nothing after it."""
    shutil.copytree(folder, copy)
    for checkpoint in (copy / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step_")) > step:
            shutil.rmtree(checkpoint)
    return copy


def assert_close(found: Records, expected: Records, *, rel: float = 1e-5) -> None:
    """Compare losses and gradient norms, and exactly what was trained on."""
    for mine, other in zip(found, expected, strict=True):
        assert mine["step"] == other["step"]
        for name in ("first_sample", "last_sample", "places_sum", "num_rejections", "lr"):
            assert mine[name] == other[name]
        names = [name for name in other if name.startswith(LOSSES)]
        assert len(names) >= 6
        assert [mine[name] for name in names] == pytest.approx(
            [other[name] for name in names], rel=rel
        ), mine["step"]

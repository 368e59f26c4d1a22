"""Keeps the teacher of the best look.

best/teacher.safetensors   the teacher, with step, metric and value in its header
best/best.json             the same three, to be read by people
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, final

import torch
from safetensors import SafetensorError
from torch import Tensor

from eosin.atomic import atomic_file, write_atomic
from eosin.errors import CheckpointError, ConfigError, system_reason
from eosin.models.tensor_file import open_tensors, write_tensors
from eosin.names import get_logger
from eosin.train.checkpoint import full_state_dict
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World
from eosin.watch.features import device_of, present_world

logger = get_logger(__name__)


class Best(NamedTuple):
    """Which look was the best."""

    step: int
    metric: str
    value: float


@final
class KeepBest(Monitor):
    """Writes the teacher whenever a metric is higher than ever; after the monitor that measures it.

    A run that goes on keeps its best, unless that was seen at a step that is done again, or by
    another metric: then the next look takes its place.
    """

    def __init__(self, folder: Path, metric: str) -> None:
        """Keep the best teacher.

        Args:
            folder: Where it is kept.
            metric: Name of a metric of which more is better; one that the first step does not have
                ends the run there, with a ConfigError.
        """
        self._folder = folder
        self._metric = metric
        self._best: Best | None = None
        self._has_looked = False

    def run_started(self, first_step: int, num_steps: int) -> None:
        best = read_best(self._folder)
        holds = best is not None and best.step < first_step and best.metric == self._metric
        self._best = best if holds else None

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        self._has_looked = True
        if self._metric not in metrics:
            # All looks are due at the first step: better an error now than no teacher in weeks.
            if step == 0:
                raise ConfigError(
                    f"watch.keep_best={self._metric!r} is not measured by this run; choose of "
                    f"{', '.join(sorted(metrics))}"
                )
            return {}
        world = present_world(device_of(model))
        value = float(metrics[self._metric])
        # Written so that NaN is never the best: no comparison with it holds.
        is_best = value > (-math.inf if self._best is None else self._best.value)
        # All processes must agree, since they gather the teacher together.
        if world.gather(is_best)[0]:
            self._best = Best(step=step, metric=self._metric, value=value)
            self._write(self._best, model, world)
        return {}

    def run_ended(self) -> None:
        is_missing = self._has_looked and self._best is None
        if is_missing and present_world(torch.device("cpu")).is_main:
            logger.warning(
                "nothing was kept as the best: no step had a number for %r; see metrics.jsonl",
                self._metric,
            )

    def _write(self, best: Best, model: StudentTeacher, world: World) -> None:
        teacher = full_state_dict(model.teacher)
        world.on_main(lambda: _write_best(self._folder, best, teacher))


def read_best(folder: Path) -> Best | None:
    """Return which look's teacher a folder holds; None where it holds none that can be read."""
    path = folder / "teacher.safetensors"
    if not path.exists():
        return None
    try:
        with open_tensors(path) as stored:
            header = stored.metadata() or {}
        return Best(int(header["step"]), header["metric"], float(header["value"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        logger.warning("%s is damaged and passed over: %s", path, error)
        return None


def _write_best(folder: Path, best: Best, teacher: Mapping[str, Tensor]) -> None:
    # Weights and their value in one file, so that none is ever beside the other's.
    header = {"format": "pt", "step": str(best.step), "metric": best.metric}
    header["value"] = repr(best.value)
    path = folder / "teacher.safetensors"
    try:
        with atomic_file(path) as aside:
            write_tensors(aside, teacher, header)
        write_atomic(folder / "best.json", json.dumps(best._asdict(), indent=1))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write {path} ({system_reason(error)}); free some space and start again, "
            "the run goes on from its newest checkpoint"
        ) from error

"""Metrics for Weights & Biases; with WANDB_MODE=offline nothing leaves the machine."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import final

import torch

from eosin.atomic import write_atomic
from eosin.errors import CheckpointError, MissingDependencyError
from eosin.plain import to_plain
from eosin.train.config import TrainConfig
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.features import present_world


def import_wandb() -> ModuleType:
    """Return the package, imported only where it is asked for.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise MissingDependencyError(
            f"metrics for Weights & Biases need 'wandb' ({error}): pip install wandb"
        ) from error


@final
class WeightsAndBiases(Monitor):
    """Logs each step's metrics; to stand after the monitors whose metrics it logs.

    A run that goes on, goes on there too: its id is kept in the run's folder. The step is a metric
    of its own and the axis of all others, as Weights & Biases would drop steps that are done again.
    """

    def __init__(self, run_path: Path, project: str, config: TrainConfig) -> None:
        """Log to a project.

        Args:
            run_path: Folder of the run, by whose name it is called.
            project: Name of the project.
            config: Of the run, shown there.

        Raises:
            MissingDependencyError: If wandb is not installed.
        """
        self._wandb = import_wandb()
        self._path = run_path
        self._project = project
        self._config = to_plain(config)
        self._is_main = False

    def run_started(self, first_step: int, num_steps: int) -> None:
        self._is_main = present_world(torch.device("cpu")).is_main
        if not self._is_main:
            return
        run_id = _kept_id(self._path / "wandb.json")
        run = self._wandb.init(
            project=self._project,
            name=self._path.name,
            id=run_id,
            resume="allow",
            dir=str(self._path),
            config=self._config,
        )
        if run_id is None:
            write_atomic(self._path / "wandb.json", json.dumps({"id": run.id}))
        self._wandb.define_metric("step")
        self._wandb.define_metric("*", step_metric="step")

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        if self._is_main:
            self._wandb.log({"step": step, **metrics})
        return {}

    def run_ended(self) -> None:
        if self._is_main:
            self._wandb.finish()


def _kept_id(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        return str(json.loads(path.read_text())["id"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not say which run of Weights & Biases this is ({error}); remove it to "
            "begin a new one there"
        ) from error

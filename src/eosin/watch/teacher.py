"""Which teacher of a run to take: the newest, the best, or the mean of the last few."""

from typing import NamedTuple

from torch import Tensor

from eosin.errors import ConfigError, InputError
from eosin.models.tensor_file import read_tensors
from eosin.train.checkpoint import backbone_of, load_teacher, teacher_files
from eosin.train.run_folder import RunFolder
from eosin.watch.average import average_teachers
from eosin.watch.best import read_best


class ChosenTeacher(NamedTuple):
    """A teacher's backbone, and where it is from."""

    step: int
    """Steps that were done."""
    backbone: dict[str, Tensor]
    note: str
    """Says which it is; empty for the newest."""


def chosen_teacher(run: RunFolder, *, is_best: bool, num_averaged: int) -> ChosenTeacher:
    """Return a teacher of a run.

    Args:
        run: Holds checkpoints.
        is_best: Take the one that was kept as the best.
        num_averaged: Take the mean of as many of the newest checkpoints.

    Raises:
        ConfigError: If both are asked for, or there are fewer checkpoints.
        InputError: If there is no such teacher that can be read.
    """
    if num_averaged < 1 or (is_best and num_averaged > 1):
        raise ConfigError(
            f"num_averaged={num_averaged} with is_best={is_best}: take the best teacher, or the "
            "mean of at least 1"
        )
    if is_best:
        return _best(run)
    if num_averaged > 1:
        return _mean(run, num_averaged)
    step, backbone = load_teacher(run.checkpoints)
    return ChosenTeacher(step, backbone, "")


def _best(run: RunFolder) -> ChosenTeacher:
    folder = run.path / "best"
    best = read_best(folder)
    if best is None:
        raise InputError(
            f"{run.path} has kept no best teacher; train with --watch.keep-best METRIC, or take "
            "the newest"
        )
    note = f"The run's best teacher by {best.metric} ({best.value:.4f})."
    return ChosenTeacher(
        best.step + 1, backbone_of(read_tensors(folder / "teacher.safetensors")), note
    )


def _mean(run: RunFolder, num_averaged: int) -> ChosenTeacher:
    files = teacher_files(run.checkpoints)
    if len(files) < num_averaged:
        raise ConfigError(
            f"num_averaged={num_averaged}, but {run.path} has {len(files)} checkpoints; train with "
            "more kept (--keep-checkpoints, --keep-every-steps)"
        )
    newest = files[-num_averaged:]
    first, last = (int(path.parent.name.removeprefix("step_")) for path in (newest[0], newest[-1]))
    note = f"The mean of the teachers of {num_averaged} checkpoints, of steps {first} to {last}."
    return ChosenTeacher(last, backbone_of(average_teachers(newest)), note)

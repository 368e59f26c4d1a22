"""One teacher from several of the same run: the mean of their weights, often a little better."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from eosin.errors import CheckpointError, ConfigError, system_reason
from eosin.models.tensor_file import read_tensors


def average_teachers(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of the tensors of several `teacher.safetensors`, in float32.

    Sums are taken in float64, one file after another, so that their order changes nothing and two
    models at a time are in memory.

    Args:
        paths: Of files with the same names and shapes, such as the newest checkpoints of a run.

    Raises:
        ConfigError: If there is no path.
        CheckpointError: If a file cannot be read, or differs from the first in names or shapes.

    Source: Wortsman et al. 2022, arXiv:2203.05482 (a uniform soup), here along one run.
    """
    if not paths:
        raise ConfigError("there are no teachers to average; give teacher.safetensors files")
    total = {name: tensor.double() for name, tensor in _read(paths[0]).items()}
    for path in paths[1:]:
        teacher = _read(path)
        _require_same(total, teacher, paths[0], path)
        for name, tensor in teacher.items():
            total[name] += tensor
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a teacher ({system_reason(error)}); leave it out"
        ) from error


def _require_same(
    first: dict[str, Tensor], other: dict[str, Tensor], first_path: Path, path: Path
) -> None:
    alone = sorted(first.keys() ^ other.keys())
    if alone:
        raise CheckpointError(
            f"{path} and {first_path} are of different models: only one has {', '.join(alone[:3])}"
        )
    for name, tensor in other.items():
        if tensor.shape != first[name].shape:
            raise CheckpointError(
                f"{path} and {first_path} are of different models: {name} has the shapes "
                f"{tuple(tensor.shape)} and {tuple(first[name].shape)}"
            )

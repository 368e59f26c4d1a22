"""Checkpoints: a folder each, whole or not there; a damaged one is passed over.

checkpoints/step_00001000/state.pt              everything that a run needs to go on
teacher.safetensors   the teacher alone, under Meta's names
"""

import logging
import pickle
import shutil
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from eosin.atomic import atomic_path
from eosin.errors import CheckpointError, InputError
from eosin.pipeline import StreamState

logger = logging.getLogger(__name__)


class TrainState(TypedDict):
    """What a run needs to go on exactly: random numbers need no state, they are addressed."""

    step: int
    """Steps done."""
    model: dict[str, Tensor]
    optimizer: dict[str, object]
    stream: StreamState


def save_checkpoint(
    folder: Path, state: TrainState, teacher: dict[str, Tensor], *, keep: int
) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`.

    Raises:
        CheckpointError: If it cannot be written, such as on a full disk; older ones stay.
    """
    path = folder / f"step_{state['step']:08d}"
    try:
        with atomic_path(path) as aside:
            aside.mkdir()
            torch.save(dict(state), aside / "state.pt")
            tensors = {name: tensor.contiguous().cpu() for name, tensor in teacher.items()}
            save_file(tensors, aside / "teacher.safetensors", metadata={"format": "pt"})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write the checkpoint {path} ({error}); free some space and start again, the "
            "run goes on from the checkpoint before"
        ) from error
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step_*") if path.is_dir())


def load_newest(folder: Path, device: torch.device) -> TrainState | None:
    """Return the newest state that can be read, None when there is no checkpoint.

    Raises:
        CheckpointError: If there are checkpoints and none can be read.
    """
    checkpoints = list_checkpoints(folder)
    for path in reversed(checkpoints):
        try:
            state: TrainState = torch.load(
                path / "state.pt", map_location=device, weights_only=True
            )
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            logger.warning("checkpoint %s is damaged and passed over: %s", path, error)
            continue
        return state
    if checkpoints:
        raise CheckpointError(
            f"none of the {len(checkpoints)} checkpoints in {folder} can be read; remove them to "
            "start anew"
        )
    return None


def load_teacher(folder: Path) -> tuple[int, dict[str, Tensor]]:
    """Return the step and the backbone of the newest teacher in a run's checkpoints.

    Raises:
        InputError: If there is none that can be read.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            tensors = load_file(path / "teacher.safetensors")
        except (OSError, SafetensorError) as error:
            logger.warning("checkpoint %s is damaged and passed over: %s", path, error)
            continue
        prefix = "backbone."
        backbone = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        return int(path.name.removeprefix("step_")), backbone
    raise InputError(f"{folder} holds no checkpoint that can be read; train first")

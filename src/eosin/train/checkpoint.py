"""Checkpoints: a folder each, whole or not there; a damaged one is passed over.

checkpoints/step_00001000/state/   networks, centres and optimiser, by name, in the format of
                                   torch.distributed.checkpoint: any number of ranks reads it
    stream.json                    where the stream is
    teacher.safetensors            the teacher alone, in one piece, under Meta's names
    .complete                      size and checksum of every file, written last
"""

import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, TypeVar, cast, final

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.optim import Optimizer

from eosin.atomic import atomic_folder, foreign_file
from eosin.errors import CheckpointError, ConfigError, InputError, system_reason
from eosin.models.tensor_file import read_tensors, write_tensors
from eosin.names import get_logger
from eosin.pipeline import StreamState
from eosin.plain import from_json, to_json
from eosin.train.run_folder import CHECKPOINT_FILES
from eosin.train.saved_state import describe_failure, load_state, plain_name, save_state
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World, whole

logger = get_logger(__name__)

T = TypeVar("T")

_COMPLETE = ".complete"
_TEACHER = "teacher.safetensors"
_STREAM = "stream.json"
_CHUNK_BYTES = 1 << 22
_WRITING_FAILS_WITH = (OSError, ConfigError, RuntimeError, SafetensorError, CheckpointException)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """Where a run goes on; random numbers need no state, they are addressed."""

    step: int
    """Steps done."""
    stream: StreamState


class _Sum(TypedDict):
    """What a file must be."""

    size_bytes: int
    crc32: int


class _Complete(TypedDict):
    """What `.complete` holds."""

    step: int
    files: dict[str, _Sum]


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: StudentTeacher,
    optimizer: Optimizer,
    stream: StreamState | None,
    world: World,
    keep: int,
    keep_every: int,
) -> Path:
    """Write a checkpoint, then remove older ones; all ranks call it, and all write.

    Args:
        folder: Of all checkpoints of the run, on a disk that all ranks see.
        step: Steps done.
        model: Networks and centres, cut over the ranks or not.
        optimizer: Its state is kept, by the names of the parameters; its settings are the code's.
        stream: Where the stream is; from the main process, which keeps it.
        world: The ranks.
        keep: How many of the newest stay.
        keep_every: Multiples of this many steps stay as well; 0 keeps none.

    Raises:
        CheckpointError: On all ranks if one cannot write, such as on a full disk; older ones stay.
    """
    path = folder / f"step_{step:08d}"
    teacher = full_state_dict(model.teacher)
    with contextlib.ExitStack() as writing:

        def begin() -> Path | None:
            if not world.is_main:
                return None
            aside = writing.enter_context(atomic_folder(path, is_ours=_is_own))
            (aside / "state").mkdir()
            return aside

        def write_alone() -> None:
            if world.is_main:
                (aside / _STREAM).write_text(to_json(stream))
                write_tensors(aside / _TEACHER, teacher, {"format": "pt"})

        def finish() -> None:
            if world.is_main:
                _check_all_are_here(aside, sums)
                complete = _Complete(step=step, files=sums)
                (aside / _COMPLETE).write_text(json.dumps(complete, indent=1))
                writing.close()
                _prune(folder, step, keep=keep, keep_every=keep_every)

        aside = cast(Path, _everywhere(world, path, begin)[0])
        _everywhere(world, path, lambda: save_state(aside / "state", model, optimizer))
        _everywhere(world, path, write_alone)
        by_rank = _everywhere(world, path, lambda: _sums_of_own(aside, world.rank))
        sums = {name: one for own in by_rank for name, one in own.items()}
        _everywhere(world, path, finish)
    return path


def load_newest(
    folder: Path, *, model: StudentTeacher, optimizer: Optimizer, world: World
) -> Restored | None:
    """Load the newest checkpoint that can be read, whatever number of ranks wrote it.

    One that is damaged is passed over with a warning, by all ranks alike.

    Returns:
        Where the run goes on; None when there is no checkpoint.

    Raises:
        CheckpointError: If there are checkpoints and none can be read.
    """
    checkpoints = world.on_main(lambda: list_checkpoints(folder))
    problem = None
    for path in reversed(checkpoints):
        problem = world.agree(_damage(path, part=world.rank, num_parts=world.size))
        if problem is None:
            problem = load_state(path / "state", model, optimizer, world)
        if problem is None:
            stream = cast(StreamState, from_json((path / _STREAM).read_bytes()))
            return Restored(step=_step_of(path), stream=stream)
        logger.warning("checkpoint %s is passed over: %s", path, problem)
    if problem is not None:
        raise CheckpointError(
            f"none of the {len(checkpoints)} checkpoints in {folder} can be read ({problem}); "
            "remove them to start anew"
        )
    return None


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    is_one = re.compile(r"step_\d+")
    found = [path for path in folder.glob("step_*") if is_one.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir()), key=_step_of)


def teacher_files(folder: Path) -> list[Path]:
    """Return the whole teachers in a run's checkpoints, oldest first."""
    files = [path / _TEACHER for path in list_checkpoints(folder)]
    return [file for file in files if file.exists()]


def load_teacher(folder: Path) -> tuple[int, dict[str, Tensor]]:
    """Return the step and the backbone of the newest teacher in a run's checkpoints.

    Raises:
        InputError: If there is none that can be read.
    """
    for path in reversed(teacher_files(folder)):
        try:
            tensors = read_tensors(path)
        except (OSError, SafetensorError) as error:
            logger.warning("%s is damaged and passed over: %s", path, system_reason(error))
            continue
        return _step_of(path.parent), backbone_of(tensors)
    raise InputError(f"{folder} holds no checkpoint that can be read; train first")


def backbone_of(teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone of a whole teacher, without the heads."""
    prefix = "backbone."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in teacher.items()
        if name.startswith(prefix)
    }


@torch.no_grad()
def full_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a module in one piece on the CPU; all ranks must ask.

    Returns:
        By name, on the main process; nothing on the others. On a CPU alone they are the module's
        own and not copies, and the next step changes them.
    """
    is_main = not dist.is_initialized() or dist.get_rank() == 0
    tensors = {}
    for name, tensor in module.state_dict().items():
        # One after the other, so that a device holds one whole tensor at a time.
        in_one_piece = whole(tensor)
        if is_main:
            tensors[plain_name(name)] = in_one_piece.cpu().contiguous()
    return tensors


def _everywhere(world: World, path: Path, action: Callable[[], T]) -> list[T]:
    """Do something on every rank and return what each gave; what fails on one fails on all."""
    problem = None
    outcome: T | None = None
    try:
        outcome = action()
    except _WRITING_FAILS_WITH as error:
        problem = f"rank {world.rank}: {describe_failure(error)}"
    outcomes = world.gather((outcome, problem))
    first = next((found for _, found in outcomes if found is not None), None)
    if first is not None:
        raise CheckpointError(
            f"cannot write the checkpoint {path} ({first}); free some space and start again, the "
            "run goes on from the checkpoint before"
        )
    return [cast(T, one) for one, _ in outcomes]


def _sums_of_own(checkpoint: Path, rank: int) -> dict[str, _Sum]:
    """Return what this rank has written, the main process also what belongs to none."""
    own = list((checkpoint / "state").glob(f"__{rank}_*"))
    if rank == 0:
        own += [checkpoint / "state" / ".metadata", checkpoint / _STREAM, checkpoint / _TEACHER]
    return {str(file.relative_to(checkpoint)): _sum_of(file) for file in own}


def _sum_of(file: Path) -> _Sum:
    crc = size_bytes = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
            size_bytes += len(chunk)
    return _Sum(size_bytes=size_bytes, crc32=crc)


def _check_all_are_here(checkpoint: Path, sums: dict[str, _Sum]) -> None:
    """Raise OSError where the main process does not see a file that another rank wrote."""
    for name in sums:
        if not (checkpoint / name).exists():
            raise OSError(
                f"{checkpoint / name} was written by another rank and is not here; all nodes must "
                "see the same folder"
            )


def _damage(checkpoint: Path, *, part: int, num_parts: int) -> str | None:
    """Return what is wrong with this part of the files, None if nothing."""
    if (checkpoint / "state.pt").exists():
        return "an older eosin wrote it; go on with that version"
    try:
        complete: _Complete = json.loads((checkpoint / _COMPLETE).read_text())
        for name, expected in sorted(complete["files"].items())[part::num_parts]:
            size_bytes = (checkpoint / name).stat().st_size
            if size_bytes != expected["size_bytes"]:
                return f"{name} has {size_bytes} bytes and must have {expected['size_bytes']}"
            if _sum_of(checkpoint / name) != expected:
                return f"{name} has another checksum than when it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it is not whole ({describe_failure(error)})"
    return None


def _prune(folder: Path, newest: int, *, keep: int, keep_every: int) -> None:
    checkpoints = list_checkpoints(folder)
    # Those ahead were passed over when the run went on from before them, and stay unreadable.
    ahead = [path for path in checkpoints if _step_of(path) > newest]
    older = [path for path in checkpoints if _step_of(path) <= newest][:-keep]
    if keep_every:
        older = [path for path in older if _step_of(path) % keep_every]
    for path in ahead + older:
        if not _is_own(path):
            logger.warning(
                "the old checkpoint %s stays, as it holds something that eosin did not write", path
            )
            continue
        # Renamed first: what is killed in between leaves no checkpoint with files missing.
        leftover = path.with_name(f".{path.name}.{os.getpid()}.writing")
        try:
            path.rename(leftover)
            shutil.rmtree(leftover)
        except OSError as error:
            logger.warning(
                "the old checkpoint %s cannot be removed: %s", path, system_reason(error)
            )


def _is_own(checkpoint: Path) -> bool:
    return foreign_file(checkpoint, CHECKPOINT_FILES) is None


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))

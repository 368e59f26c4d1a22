"""Networks and optimiser as files, by name: any number of ranks writes them, any other reads them.

The format is that of torch.distributed.checkpoint. The settings of the optimiser's groups are not
in it: they follow from the run's.

That format keeps its table of contents as a pickle, and may keep other objects than tensors as
pickles too. A run's folder may come from anybody, so the table is read by an unpickler that knows
the few classes of a table, and nothing but tensors is loaded.
"""

import contextlib
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    Metadata,
    StorageMeta,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from eosin.errors import system_reason
from eosin.train.world import World

_Moments = dict[str, dict[str, Tensor]]
Saved = TensorStorageMetadata | BytesStorageMetadata
_WRAPPERS = re.compile(r"(_orig_mod|_checkpoint_wrapped_module)\.")


def save_state(folder: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Write the model's tensors and the optimiser's; every rank writes what it has."""
    tensors = _model_tensors(model)
    moments = {
        plain_name(name): optimizer.state[parameter]
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }
    tensors |= _moment_tensors(moments)
    writer = FileSystemWriter(folder, sync_files=True)
    try:
        with _alone_without_warning() as is_alone:
            save(tensors, storage_writer=writer, no_dist=is_alone)
    except CheckpointException as error:
        # On all ranks alike, as the failures are; whoever interrupts is not to hear of full disks.
        if any(isinstance(cause, KeyboardInterrupt) for cause, _ in error.failures.values()):
            raise KeyboardInterrupt from error
        raise


def load_state(folder: Path, model: nn.Module, optimizer: Optimizer, world: World) -> str | None:
    """Load in place and return None, or what is wrong, on all ranks alike.

    Whatever ranks wrote it, each takes its parts. Where something is wrong, the model may hold
    some of it.
    """
    problem = None
    tensors: dict[str, Tensor] = {}
    moments: _Moments = {}
    try:
        saved = _TensorReader(folder).read_metadata().state_dict_metadata
        moments = _blank_moments(model, optimizer, saved)
        tensors = _model_tensors(model) | _moment_tensors(moments)
        unknown = sorted(tensors.keys() ^ saved.keys())
        if unknown:
            problem = f"it holds other networks: they differ in {', '.join(unknown[:3])}"
    except Exception as error:  # noqa: BLE001 - unpickling raises whatever a file makes it
        problem = describe_failure(error)
    problem = world.agree(problem)
    if problem is not None:
        return problem
    try:
        with _alone_without_warning() as is_alone:
            load(tensors, storage_reader=_TensorReader(folder), no_dist=is_alone)
    except CheckpointException as error:
        return describe_failure(error)
    for name, parameter in model.named_parameters():
        optimizer.state.pop(parameter, None)
        if plain_name(name) in moments:
            optimizer.state[parameter] = moments[plain_name(name)]
    return None


def plain_name(name: str) -> str:
    """Return a name without what compiling and activation checkpointing put into it."""
    return _WRAPPERS.sub("", name)


def describe_failure(error: BaseException) -> str:
    """Return an error in a line, also where it stands for those of several ranks."""
    if isinstance(error, CheckpointException):
        # It carries the failures of all ranks, each with a traceback; the first one says enough.
        error = next(iter(error.failures.values()))[0]
    reason = system_reason(error, with_name=True)
    return reason if isinstance(error, OSError) else f"{type(error).__name__}: {reason}"


@final
class _TensorReader(FileSystemReader):
    """Reads checkpoints of tensors, in which nothing can hide that would be run."""

    def read_metadata(self, *args: object, **kwargs: object) -> Metadata:
        """Return the table of contents.

        Raises:
            ValueError: If it names another class or file than a checkpoint of ours has.
            TypeError: If it holds something that is no tensor.
        """
        with (Path(self.path) / ".metadata").open("rb") as file:
            table = _TableUnpickler(file).load()
        if not isinstance(table, Metadata):
            raise TypeError("its table of contents is none")
        for name, one in table.state_dict_metadata.items():
            if not isinstance(one, TensorStorageMetadata):
                raise TypeError(f"{name} in it is no tensor")
        for place in (table.storage_data or {}).values():
            if not _SHARD.fullmatch(place.relative_path) or place.transform_descriptors:
                raise ValueError(f"its table of contents names the file {place.relative_path!r}")
        table.storage_meta = StorageMeta(load_id=self.load_id)
        return table


_SHARD = re.compile(r"__\d+_\d+\.distcp")


class _TableUnpickler(pickle.Unpickler):
    """Knows what tables of contents are made of, and no other class or function."""

    _KNOWN = frozenset(
        {
            ("pathlib", "PosixPath"),
            ("torch", "Size"),
            ("torch.serialization", "_get_layout"),
            *(
                ("torch.distributed.checkpoint.metadata", name)
                for name in (
                    *("ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta"),
                    *("TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
                )
            ),
            ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if (module, name) not in self._KNOWN and not is_dtype:
            raise ValueError(f"its table of contents asks for {module}.{name}, which is not run")
        return super().find_class(module, name)


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's own tensors by name; brings gathered parameters back to their parts."""
    return {f"model.{plain_name(name)}": one for name, one in model.state_dict().items()}


def _moment_tensors(moments: _Moments) -> dict[str, Tensor]:
    return {
        f"optimizer.{name}.{key}": one
        for name, state in moments.items()
        for key, one in state.items()
    }


@torch.no_grad()
def _blank_moments(model: nn.Module, optimizer: Optimizer, saved: Mapping[str, Saved]) -> _Moments:
    """Return empty state for the parameters that had one; those that stood still have none."""
    by_name: dict[str, dict[str, TensorStorageMetadata]] = {}
    for full_name, like in saved.items():
        if full_name.startswith("optimizer.") and isinstance(like, TensorStorageMetadata):
            name, key = full_name.removeprefix("optimizer.").rsplit(".", 1)
            by_name.setdefault(name, {})[key] = like
    counts_on_device = {
        parameter: bool(group.get("fused") or group.get("capturable"))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    blank: _Moments = {}
    for full_name, parameter in model.named_parameters():
        name = plain_name(full_name)
        if parameter not in counts_on_device:
            continue
        state = {}
        for key, like in by_name.get(name, {}).items():
            if like.size == parameter.shape:
                state[key] = torch.zeros_like(parameter, dtype=like.properties.dtype)
                continue
            device = parameter.device if counts_on_device[parameter] else "cpu"
            if like.size.numel() > 1:
                raise ValueError(f"{name}.{key} has the shape {tuple(like.size)}")
            state[key] = torch.zeros(like.size, dtype=like.properties.dtype, device=device)
        if state:
            blank[name] = state
    return blank


@contextlib.contextmanager
def _alone_without_warning() -> Iterator[bool]:
    """Say whether this process is alone, which needs no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is .*, assuming the intent is to")
        yield not dist.is_initialized()

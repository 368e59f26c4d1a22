"""The processes that train together: one alone, or as many as torchrun started.

One process runs without any process group. Under torchrun the same code is sharded with FSDP2:
every block and part of the networks is cut over the ranks and gathered when it is needed.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast, final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from eosin.errors import ConfigError, EosinError, InterruptedRunError, TrainingError

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)
"""How long ranks wait for each other before they give up, such as when one of them has died. Longer
than a stream waits for a slide (`Patience`), so that the rank whose slide hangs can name it, and
than the main process takes to draw a bank of tiles or to write large networks to a slow disk."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among those that train together."""

    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    """Ranks that share one copy of the networks; with replicas, those in a second dimension."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def on_main(self, action: Callable[[], T]) -> T:
        """Do something on the main process alone, and return what it gave, or raise, on all.

        Raises:
            EosinError: What the action raised there; other errors as a TrainingError elsewhere.
        """
        if self.size == 1:
            return action()
        outcome: list[tuple[T | None, Exception | None]] = [(None, None)]
        caught: Exception | None = None
        if self.is_main:
            try:
                outcome = [(action(), None)]
            except Exception as error:  # noqa: BLE001 - the other ranks must learn of any error
                caught = error
                outcome = [(None, _portable(error))]
        dist.broadcast_object_list(outcome)
        result, problem = outcome[0]
        if caught or problem:
            raise caught or cast(Exception, problem)
        return cast(T, result)

    def agree(self, problem: str | None) -> str | None:
        """Return the first problem that any rank has, on all of them; None if there is none."""
        return next((found for found in self.gather(problem) if found is not None), None)

    def gather(self, value: T) -> list[T]:
        """Return every rank's value, on all of them; small values only, they are pickled."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return cast(list[T], values)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all ranks."""
        return self._reduce(values, dist.ReduceOp.SUM) / self.size

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def highest(self, values: Tensor) -> Tensor:
        """Return the maximum over all ranks."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def _reduce(self, values: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size == 1:
            return values
        # Where it is: what is on the CPU travels by gloo, and no GPU is waited for.
        reduced = values.detach().clone()
        dist.all_reduce(reduced, operation)
        return reduced


@contextmanager
def joined_world(device: str = "auto", *, num_replicas: int = 1) -> Iterator[World]:
    """Join the processes that torchrun started, or be alone; leave them at the end.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU when there is one. With several
            processes each has its own, see `own_device`.
        num_replicas: Copies of the networks, each cut over the ranks of one; the ranks of one copy
            should be those with the fastest connection, such as a node's (HSDP).

    Raises:
        ConfigError: If there is no such device here, or the replicas do not divide the ranks.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if num_replicas < 1 or size % num_replicas:
        raise ConfigError(f"num_replicas={num_replicas} must divide the {size} processes")
    own = own_device(device)
    if size == 1:
        yield World(device=own)
        return
    is_gpu = own.type == "cuda"
    if is_gpu:
        torch.cuda.set_device(own)
    is_mine = not dist.is_initialized()
    if is_mine:
        dist.init_process_group("cpu:gloo,cuda:nccl" if is_gpu else "gloo", timeout=_TIMEOUT)
    all_leave = False
    try:
        shape: dict[str, int] = {"replicate": num_replicas} if num_replicas > 1 else {}
        shape["shard"] = size // num_replicas
        mesh = init_device_mesh(own.type, tuple(shape.values()), mesh_dim_names=tuple(shape))
        yield World(device=own, rank=dist.get_rank(), size=size, mesh=mesh)
        all_leave = True
    except InterruptedRunError:
        all_leave = True
        raise
    finally:
        # NCCL says goodbye to all ranks, and would wait for those that an error of this one alone
        # has left in the middle of a step; whoever has started the processes must see it end.
        if is_mine and (all_leave or not is_gpu):
            dist.destroy_process_group()


def is_main_process() -> bool:
    """Return whether this process will be the main one, also before it has joined the others."""
    return os.environ.get("RANK", "0") == "0"


def own_device(name: str) -> torch.device:
    """Return the device of this process: among several, the GPU of its local rank.

    Where a process sees one GPU it takes that one: a scheduler has given each its own.

    Raises:
        ConfigError: As `torch_device`; or if the name puts all processes of a node on one of
            several GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return torch_device(name)
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", str(local_rank + 1)))
    num_gpus = torch.cuda.device_count()
    if name.startswith("cuda:") and num_local > 1 and num_gpus > 1:
        raise ConfigError(
            f"device={name!r} would put the {num_local} processes of this node on one of its "
            f"{num_gpus} GPUs; say --device cuda, and each takes its own"
        )
    return torch_device(name, 0 if num_gpus == 1 else local_rank)


def torch_device(name: str, local_rank: int | None = None) -> torch.device:
    """Return a device by its name.

    Args:
        name: As torch has it, or `auto`.
        local_rank: Which GPU a process among several has; None when it is alone.

    Raises:
        ConfigError: If there is no such device here.
    """
    asked = name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local_rank is not None:
        name = f"cuda:{local_rank}"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(f"device={asked!r} is not here: {first_line}") from error
    return torch.device(name)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may be cut over the ranks in one piece; all ranks must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _portable(error: Exception) -> Exception:
    """Return an error that the other ranks can raise."""
    if isinstance(error, EosinError):
        return error
    return TrainingError(f"the main process failed: {type(error).__name__}: {error}")

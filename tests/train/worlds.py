"""Worlds of several ranks, and networks with an optimiser that has made a step, in any of them."""

from collections.abc import Callable
from typing import TypeVar

import torch

# What an optimiser of sharded parameters imports, or every rank does it anew: 0.4 s.
import torch._dynamo
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from eosin.train.config import TrainConfig
from eosin.train.parallel import Layout, lay_out
from eosin.train.step import initial_model, make_optimizer
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World, whole
from ranks import on_ranks
from train.tiny import tiny_config

T = TypeVar("T")
ALONE = World(device=torch.device("cpu"))


def in_world(num_ranks: int, action: Callable[[World], T], *, num_replicas: int = 1) -> list[T]:
    """Return what the action gives on each rank; one rank is this process, alone."""
    if num_ranks == 1:
        return [action(ALONE)]

    def on_rank(rank: int) -> T:
        shape = {"replicate": num_replicas} if num_replicas > 1 else {}
        shape["shard"] = num_ranks // num_replicas
        mesh = init_device_mesh("cpu", tuple(shape.values()), mesh_dim_names=tuple(shape))
        return action(World(device=ALONE.device, rank=rank, size=num_ranks, mesh=mesh))

    return on_ranks(num_ranks, on_rank)


def stepped(
    world: World, *, seed: int = 0, config: TrainConfig | None = None, num_frozen: int = 0
) -> tuple[StudentTeacher, torch.optim.AdamW]:
    """Make networks whose student has made one step of gradients that depend on the seed."""
    config = config or tiny_config(seed=seed)
    model = initial_model(config)
    lay_out(model, world, Layout(), is_bfloat16=False)
    optimizer = make_optimizer(model, config)
    for number, parameter in enumerate(model.student.parameters()):
        if number >= num_frozen:
            parameter.grad = torch.full_like(parameter, (number + seed) % 7 - 3.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    model.update_teacher(0.5)
    return model, optimizer


def everything(model: StudentTeacher, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors that training changes, in one piece, by name."""
    tensors = {name: whole(tensor) for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, tensor in optimizer.state.get(parameter, {}).items():
            tensors[f"{name} {key}"] = whole(tensor)
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare to the last bit."""
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []

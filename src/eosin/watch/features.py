"""The teacher's features of fixed images, computed by all processes of a run together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from eosin.loader import to_model_input
from eosin.train.precision import products_of
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World
from eosin.watch.gauges import cls_patch_cosine

BATCH_SIZE = 32
"""Images that go through the teacher at once; a forward pass alone needs little memory."""


class TeacherFeatures(NamedTuple):
    """What the teacher's backbone says of images, in their order, the same on all processes."""

    cls: Float[Tensor, "images dim"]
    patch_mean: Float[Tensor, "images dim"]
    """Mean over the patch tokens."""
    cls_patch_cosine: Float[Tensor, " images"]

    @property
    def joined(self) -> Float[Tensor, "images features"]:
        """Class token ++ mean patch token, which probes take."""
        return torch.cat([self.cls, self.patch_mean], dim=1)

    def part(self, begin: int, end: int) -> "TeacherFeatures":
        """Return the features of some of the images."""
        return TeacherFeatures(*(tensor[begin:end] for tensor in self))


def present_world(device: torch.device) -> World:
    """Return the processes of the run that is going on; one alone without a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return World(device=device)
    return World(device=device, rank=dist.get_rank(), size=dist.get_world_size())


def device_of(model: StudentTeacher) -> torch.device:
    """Return where a run's networks are."""
    return next(model.parameters()).device


@torch.no_grad()
def teacher_features(
    model: StudentTeacher, images: UInt8[Tensor, "images height width 3"]
) -> TeacherFeatures:
    """Return the teacher's features of images; all processes must ask, with the same images.

    Each process computes an equal share. Random numbers are not touched, so that a run that is
    looked at trains like one that is not.
    """
    world = present_world(device_of(model))
    share = -(-len(images) // world.size)
    # The last share goes on from the first image: all processes compute equally often, as the
    # parameters of a sharded network are gathered for all of them at once.
    mine = torch.arange(world.rank * share, (world.rank + 1) * share) % len(images)
    with _looking(model.teacher), products_of(model.config, world.device):
        rows = torch.cat(
            [
                _features(model, images[mine[begin : begin + BATCH_SIZE]], world)
                for begin in range(0, share, BATCH_SIZE)
            ]
        )
    gathered = _gathered(rows, world)[: len(images)]
    dim = (gathered.shape[1] - 1) // 2
    return TeacherFeatures(gathered[:, :dim], gathered[:, dim : 2 * dim], gathered[:, -1])


@torch.no_grad()
def teacher_logits(
    model: StudentTeacher, cls_tokens: Float[Tensor, "images dim"]
) -> Float[Tensor, "images prototypes"]:
    """Return the teacher's scores of the DINO prototypes, the centre taken away where it is used.

    All processes must ask, with the same tokens.
    """
    with _looking(model.teacher), products_of(model.config, device_of(model)):
        logits: Tensor = model.teacher["dino_head"](cls_tokens).float()
    is_centred = model.config.losses.centering == "softmax"
    return logits - model.dino_center if is_centred else logits


@contextmanager
def _looking(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def _features(model: StudentTeacher, images: Tensor, world: World) -> Tensor:
    data = model.config.data
    tokens = model.teacher["backbone"](to_model_input(images, data.mean, data.std, world.device))
    cls, patches = tokens.cls.float(), tokens.patches.float()
    cosine = cls_patch_cosine(cls, patches)
    return torch.cat([cls, patches.mean(dim=1), cosine[:, None]], dim=1)


def _gathered(rows: Tensor, world: World) -> Tensor:
    if world.size == 1:
        return rows
    gathered = [torch.empty_like(rows) for _ in range(world.size)]
    dist.all_gather(gathered, rows)
    return torch.cat(gathered)

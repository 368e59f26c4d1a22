"""The networks cut over two ranks against one process with the joined batch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from eosin.models.config import HeadConfig
from eosin.train.config import LossConfig, TrainConfig
from eosin.train.parallel import Layout, lay_out, sync_gradients
from eosin.train.step import initial_model
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World, whole
from ranks import on_ranks
from train.tiny import tiny_config

BATCH = 4
NUM_LOCAL = 2

Outcome = tuple[dict[str, float], dict[str, Tensor], dict[str, Tensor]]
"""Terms of the loss, gradients of the student, the teacher and its centres after the step."""


def config(**losses: object) -> TrainConfig:
    tiny = tiny_config(losses=LossConfig(**losses))
    return replace(tiny, model=replace(tiny.model, drop_path_rate=0.0))


def batch(*, seed: int, rank: int = 0, num_ranks: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return a rank's crops and masks, where the last half of the patches is not masked."""
    generator = torch.Generator().manual_seed(seed)
    global_crops = torch.randn(2, BATCH, 3, 56, 56, generator=generator)
    local_crops = torch.randn(NUM_LOCAL, BATCH, 3, 28, 28, generator=generator)
    masks = torch.zeros(2, BATCH, 16, dtype=torch.bool)
    masks[0, 0, :5] = True
    masks[1, 1, 3:6] = True
    return tuple(
        x.chunk(num_ranks, dim=1)[rank].flatten(0, 1) for x in (global_crops, local_crops, masks)
    )


def step(model: StudentTeacher, *, rank: int = 0, num_ranks: int = 1) -> Outcome:
    """Do the forward and backward passes of all parts, and let the teacher follow."""
    num_parts = model.config.accumulation_steps
    sums: dict[str, float] = {}
    for part in range(num_parts):
        sync_gradients(model, is_last_part=part == num_parts - 1)
        own = batch(seed=part, rank=rank, num_ranks=num_ranks)
        terms, _ = model.losses(*own, teacher_temperature=0.05)
        (torch.stack(list(terms.values())).sum() / num_parts).backward()
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach()) / num_parts
    gradients = {
        name: whole(p.grad) for name, p in model.student.named_parameters() if p.requires_grad
    }
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.mul_(1.5)
    model.update_teacher(0.9)
    after = {name: whole(p.detach()) for name, p in model.teacher.named_parameters()}
    return sums, gradients, after | dict(model.named_buffers())


def step_on_ranks(model: StudentTeacher, *, num_replicas: int, num_shards: int) -> list[Outcome]:
    num_ranks = num_replicas * num_shards

    def on_rank(rank: int) -> Outcome:
        mesh = init_device_mesh(
            "cpu", (num_replicas, num_shards), mesh_dim_names=("replicate", "shard")
        )
        world = World(
            device=torch.device("cpu"),
            rank=rank,
            size=num_ranks,
            mesh=mesh if num_replicas > 1 else mesh["shard"],
        )
        lay_out(model, world, Layout(num_replicas=num_replicas), is_bfloat16=False)
        return step(model, rank=rank, num_ranks=num_ranks)

    return on_ranks(num_ranks, on_rank)


def assert_all_do(shares: list[Outcome], expected: Outcome) -> None:
    """Check that the mean of the ranks' terms and all else of each rank are as expected."""
    terms, gradients, after = expected
    for name, term in terms.items():
        mean = sum(share[0][name] for share in shares) / len(shares)
        assert mean == pytest.approx(term, rel=1e-5, abs=1e-6), name
    for _, rank_gradients, rank_after in shares:
        assert set(rank_gradients) == set(gradients)
        for name, gradient in gradients.items():
            scale = float(gradient.norm()) + 1e-6
            assert float((rank_gradients[name] - gradient).norm()) / scale < 1e-5, name
        for name, value in after.items():
            assert torch.allclose(rank_after[name], value, atol=1e-6), name


SMALL_HEAD = HeadConfig(num_prototypes=32, hidden_dim=16, bottleneck_dim=8)


@pytest.mark.parametrize(
    "run",
    [
        config(),
        config(kde_weight=0.0, koleo_weight=0.1),
        config(centering="softmax"),
        config(ibot_weight=0.0, centering="softmax"),
        replace(config(), ibot_head=None),
        replace(config(centering="softmax"), ibot_head=SMALL_HEAD, accumulation_steps=2),
    ],
    ids=["midnight", "koleo", "centred", "dino", "shared head", "centred in two parts"],
)
def test_two_ranks_do_what_one_process_does_with_the_joined_batch(run: TrainConfig):
    model = initial_model(run)
    shares = step_on_ranks(model, num_replicas=1, num_shards=2)
    assert_all_do(shares, step(model))


def test_two_replicas_on_two_ranks_each_do_so_in_parts_with_one_patch_on_a_rank():
    model = initial_model(replace(config(), accumulation_steps=2))
    shares = step_on_ranks(model, num_replicas=2, num_shards=2)
    assert_all_do(shares, step(model))

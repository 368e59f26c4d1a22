"""One optimiser step: the parts of a batch on this rank, forward and back, then AdamW and EMA."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from eosin.loader import Batch, to_model_input
from eosin.randomness import Purpose, rng_at
from eosin.train.config import TrainConfig
from eosin.train.parallel import sync_gradients
from eosin.train.param_groups import backbone_groups, head_groups, set_rates
from eosin.train.precision import products_of
from eosin.train.rates import Rates
from eosin.train.student_teacher import StudentTeacher, collapse_gauges
from eosin.train.world import World, whole

_INITIAL_WEIGHTS = 2**31
"""A part of step 0 that no step has."""


def initial_model(config: TrainConfig) -> StudentTeacher:
    """Return the networks that a run begins with when it draws its weights, on the CPU."""
    seed_torch(config.seed, step=0, part=_INITIAL_WEIGHTS)
    return StudentTeacher(config)


def make_optimizer(model: StudentTeacher, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW with the learning rates and weight decays of each group."""
    optim = config.optim
    groups = backbone_groups(
        model.parts["backbone"],
        depth=config.model.depth,
        layer_decay=optim.layer_decay,
        patch_embed_lr_multiplier=optim.patch_embed_lr_multiplier,
    )
    for name, part in model.parts.items():
        if name != "backbone":
            groups += head_groups(part)
    return torch.optim.AdamW(
        [dict(group) for group in groups], lr=config.peak_lr, betas=optim.betas, eps=optim.eps
    )


def train_step(
    model: StudentTeacher,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[Batch],
    rates: Rates,
    world: World,
) -> dict[str, float]:
    """Do one optimiser step and return what it measured, the mean over parts and ranks.

    A loss or gradient that is not finite changes no weight; `is_finite` tells.

    Args:
        model: Laid out over the ranks.
        optimizer: Of the student.
        parts: What this rank has of the step.
        rates: Of this step.
        world: The ranks.
    """
    config = model.config
    set_rates(optimizer, rates)
    measured: list[dict[str, Tensor]] = []
    for number, batch in enumerate(parts):
        # Stochastic depth draws from torch's generator; seeded by the step, it needs no state.
        seed_torch(config.seed, batch.step, part=number * world.size + world.rank)
        sync_gradients(model, is_last_part=number == len(parts) - 1)
        measured.append(_forward_and_back(model, batch, rates, len(parts), world))
    norms = {
        f"grad_norm_{name}": whole(
            nn.utils.clip_grad_norm_(part.parameters(), config.optim.max_grad_norm)
        )
        for name, part in model.parts.items()
    }
    means = {name: torch.stack([one[name] for one in measured]).mean() for name in measured[0]}
    found = [world.mean(torch.stack(list(means.values()))), torch.stack(list(norms.values()))]
    # The one time in a step that a GPU is waited for.
    metrics: dict[str, float] = dict(zip([*means, *norms], torch.cat(found).tolist(), strict=True))
    if is_finite(metrics):
        optimizer.step()
        model.update_teacher(rates.teacher_momentum)
    optimizer.zero_grad(set_to_none=True)
    return metrics


def is_finite(metrics: Mapping[str, float | int]) -> bool:
    """Return whether a step's loss and gradients were numbers, so that it changed the weights."""
    return all(
        math.isfinite(value)
        for name, value in metrics.items()
        if name == "loss" or name.startswith("grad_norm")
    )


def seed_torch(seed: int, step: int, part: int) -> None:
    """Seed torch's generator for one part of one step on one rank."""
    torch.manual_seed(int(rng_at(seed, Purpose.MODEL, step, part).integers(2**63)))


def _forward_and_back(
    model: StudentTeacher, batch: Batch, rates: Rates, num_parts: int, world: World
) -> dict[str, Tensor]:
    config, device = model.config, world.device
    mean, std = config.data.mean, config.data.std
    global_crops = to_model_input(batch.global_crops, mean, std, device)
    local_crops = to_model_input(batch.local_crops, mean, std, device)
    masks = batch.masks.to(device, non_blocking=True)
    hidden = batch.hidden.to(device, non_blocking=True)
    with products_of(config, device):
        terms, cls_tokens = model.losses(
            global_crops, local_crops, masks, rates.teacher_temperature, hidden=hidden
        )
    total = torch.stack(list(terms.values())).sum()
    (total / num_parts).backward()  # type: ignore[no-untyped-call]
    return {
        "loss": total.detach(),
        **{name: term.detach() for name, term in terms.items()},
        **collapse_gauges(cls_tokens.detach().chunk(2)[0]),
    }

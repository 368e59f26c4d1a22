"""Networks, crops and masks that are the same everywhere without a file, and steps on them."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from eosin.models.config import HeadConfig, ViTConfig
from eosin.train.config import LossConfig, OptimConfig, TrainConfig
from eosin.train.param_groups import set_rates
from eosin.train.rates import Rates
from eosin.train.step import initial_model, make_optimizer
from eosin.train.student_teacher import StudentTeacher
from train.tiny import tiny_config

BATCH = 3
NUM_LOCAL = 3
RATES = Rates(
    lr=1e-3,
    backbone_lr=1e-3,
    last_layer_lr=0.0,
    weight_decay=0.1,
    teacher_momentum=0.9,
    teacher_temperature=0.04,
)
OPTIM = OptimConfig(
    base_lr=1e-3,
    warmup_steps=1,
    layer_decay=0.9,
    patch_embed_lr_multiplier=0.2,
    # So large that gradients which are zero but for rounding move nothing.
    eps=1e-2,
)


def step_config(*, shares_head: bool = False, **losses: object) -> TrainConfig:
    """Return a run of a small model with everything on but stochastic depth."""
    model = ViTConfig(
        embed_dim=48, depth=3, num_heads=3, image_size=56, num_registers=4, layerscale_init=1.0
    )
    return replace(
        tiny_config(),
        model=model,
        dino_head=HeadConfig(num_prototypes=64, hidden_dim=48, bottleneck_dim=32),
        ibot_head=(
            None if shares_head else HeadConfig(num_prototypes=40, hidden_dim=48, bottleneck_dim=24)
        ),
        losses=LossConfig(**losses),
        optim=OPTIM,
    )


def chirps(*shape: int, phase: float) -> Tensor:
    """Return sin(0.37 i^2 + phase) for the i-th element: of full rank, unlike plain sines."""
    positions = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(0.37 * positions.square() + phase).float().view(*shape)


def fill(network: nn.Module, *, phase: float) -> None:
    """Give the k-th parameter values of its own phase: around 1 what multiplies, else around 0."""
    with torch.no_grad():
        for k, (name, parameter) in enumerate(network.named_parameters()):
            values = chirps(*parameter.shape, phase=phase + k)
            is_factor = name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma"))
            if is_factor or name.endswith("original0"):
                parameter.copy_(1 + 0.1 * values)
            else:
                parameter.copy_(0.3 * values)


def filled_model(config: TrainConfig) -> StudentTeacher:
    """Return a student and a teacher that differ."""
    model = initial_model(config)
    fill(model.student, phase=0.0)
    fill(model.teacher, phase=0.05)
    return model


def crops_and_masks(*, is_masked: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return the global crops, the local ones, and masks of half the global crops."""
    masks = torch.zeros(2 * BATCH, 16, dtype=torch.bool)
    if is_masked:
        masks[1, 4:10] = True
        masks[2, [0, 1, 5]] = True
        masks[5, 2:9] = True
    return (
        chirps(2 * BATCH, 3, 56, 56, phase=0.3),
        chirps(NUM_LOCAL * BATCH, 3, 28, 28, phase=0.7),
        masks,
    )


def norm_of(tensors: list[Tensor]) -> float:
    """Return the length of all together."""
    return float(torch.stack([x.detach().double().square().sum() for x in tensors]).sum().sqrt())


def two_steps(config: TrainConfig) -> list[dict[str, float]]:
    """Return the losses and gradient norms of two steps, and how far each moved the networks."""
    model = filled_model(config)
    optimizer = make_optimizer(model, config)
    is_masked = config.losses.ibot_weight > 0
    measured = []
    for _ in range(2):
        terms, _ = model.losses(
            *crops_and_masks(is_masked=is_masked), teacher_temperature=RATES.teacher_temperature
        )
        torch.stack(list(terms.values())).sum().backward()
        step = {name: float(term.detach()) for name, term in terms.items()}
        for name, part in model.parts.items():
            gradients = [p.grad for p in part.parameters() if p.grad is not None]
            step[f"grad_norm_{name}"] = norm_of(gradients)
            nn.utils.clip_grad_norm_(part.parameters(), config.optim.max_grad_norm)
        before = [p.detach().clone() for p in model.parameters()]
        set_rates(optimizer, RATES)
        optimizer.step()
        optimizer.zero_grad()
        model.update_teacher(RATES.teacher_momentum)
        moves = [now.detach() - then for now, then in zip(model.parameters(), before, strict=True)]
        num_student = len(list(model.student.parameters()))
        step["student_move"] = norm_of(moves[:num_student])
        step["teacher_move"] = norm_of(moves[num_student:])
        measured.append(step)
    return measured

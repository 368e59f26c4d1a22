"""The schedules of a run, made from its configuration."""

from dataclasses import dataclass
from typing import final

from eosin.train.config import TrainConfig
from eosin.train.schedules import CosineSchedule


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What changes from step to step."""

    lr: float
    """Of the heads but their last layers."""
    backbone_lr: float
    last_layer_lr: float
    weight_decay: float
    teacher_momentum: float
    teacher_temperature: float


@final
class RateSchedules:
    """All schedules together.

    What is frozen at first joins at the rate that the schedule has reached by then; a warm-up that
    lasts longer than the freezing lets it begin gently.

    Source: facebookresearch/dinov2 b8931f7, train/train.py (build_schedulers).
    """

    def __init__(self, config: TrainConfig) -> None:
        optim, teacher, steps = config.optim, config.teacher, config.steps
        self._lr = CosineSchedule(
            base=config.peak_lr,
            final=optim.final_lr,
            num_steps=steps,
            num_warmup_steps=optim.warmup_steps,
        )
        self._num_frozen_last_layer_steps = optim.freeze_last_layer_steps
        self._num_frozen_backbone_steps = optim.freeze_backbone_steps
        self._weight_decay = CosineSchedule(
            base=optim.weight_decay, final=optim.final_weight_decay, num_steps=steps
        )
        self._momentum = CosineSchedule(
            base=teacher.momentum, final=teacher.final_momentum, num_steps=steps
        )
        self._temperature = CosineSchedule(
            base=teacher.temperature,
            final=teacher.temperature,
            num_steps=max(1, teacher.warmup_temperature_steps),
            num_warmup_steps=teacher.warmup_temperature_steps,
            warmup_start=teacher.warmup_temperature,
        )

    def at(self, step: int) -> Rates:
        """Return the values of a step, of which the first is 0."""
        lr = self._lr.value_at(step)
        return Rates(
            lr=lr,
            backbone_lr=0.0 if step < self._num_frozen_backbone_steps else lr,
            last_layer_lr=0.0 if step < self._num_frozen_last_layer_steps else lr,
            weight_decay=self._weight_decay.value_at(step),
            teacher_momentum=self._momentum.value_at(step),
            teacher_temperature=self._temperature.value_at(step),
        )

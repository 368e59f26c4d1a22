"""Values that change from step to step: learning rate, weight decay, momentum, temperature."""

import math
from dataclasses import dataclass
from typing import final

from eosin.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CosineSchedule:
    """A linear warm-up, then half a cosine from `base` to `final`, then `final` for ever.

    With `num_warmup_steps` equal to `num_steps` it is a line alone; with `base` equal to `final`,
    a constant.

    Source: facebookresearch/dinov2 b8931f7, utils/utils.py (CosineScheduler), train/train.py.
    """

    base: float
    final: float
    num_steps: int
    num_warmup_steps: int = 0
    warmup_start: float = 0.0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"num_steps={self.num_steps} must be at least 1")
        if not 0 <= self.num_warmup_steps <= self.num_steps:
            raise ConfigError(
                f"num_warmup_steps={self.num_warmup_steps} must be between 0 and "
                f"num_steps={self.num_steps}; shorten the warm-up or train longer"
            )

    def value_at(self, step: int) -> float:
        """Return the value that step `step` uses, where the first step is 0."""
        if step >= self.num_steps:
            return self.final
        if step < self.num_warmup_steps:
            # The last warm-up step is already at `base`, as numpy.linspace has it.
            slope = (self.base - self.warmup_start) / max(self.num_warmup_steps - 1, 1)
            return self.warmup_start + slope * step
        progress = (step - self.num_warmup_steps) / (self.num_steps - self.num_warmup_steps)
        return self.final + 0.5 * (self.base - self.final) * (1 + math.cos(math.pi * progress))

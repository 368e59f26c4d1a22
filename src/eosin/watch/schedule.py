"""When a run is looked at: rarely enough to cost next to nothing, unless it is short."""

import math
from dataclasses import dataclass
from typing import final

from eosin.errors import ConfigError
from eosin.train.config import TrainConfig
from eosin.watch.flops import backbone_flops, step_flops

TARGET_SHARE = 0.01
"""Part of a run's arithmetic that looks may take where nobody says how often to look. A look is
slower than its arithmetic by the time for gauges and gathering, which leaves it below 2 % of the
time."""

MIN_LOOKS = 10
"""A run is looked at this often at least, whatever it costs: a collapse shows at two looks in a row
only, and shall show before a short run is over."""

ROUND_STEPS = 50
"""Looks of long runs are spaced by multiples of this, so that their curves line up."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """At which steps to look: the first, every n-th after it, and the last of the run."""

    every_steps: int
    num_steps: int

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise ConfigError(f"every_steps={self.every_steps} must be at least 1")

    def is_due(self, step: int) -> bool:
        """Return whether to look after a step, of which the first is 0."""
        return step % self.every_steps == 0 or step == self.num_steps - 1


def cheap_spacing(config: TrainConfig, num_images: int) -> int:
    """Return how many steps to leave between looks at so many images.

    Follows from the arithmetic of both and not from the clock, so that a run that goes on looks at
    the same steps. Both are spread over the same devices.

    Args:
        config: Of the run.
        num_images: Global crops that one look takes through the teacher.
    """
    look = num_images * backbone_flops(config.model, config.data.global_px)
    steps = look / (TARGET_SHARE * step_flops(config))
    cheap = max(1, math.ceil(steps / ROUND_STEPS)) * ROUND_STEPS
    return min(cheap, max(1, config.steps // MIN_LOOKS))

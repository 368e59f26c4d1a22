"""How others watch a run: the loop hands out numbers and the teacher, and knows nobody."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn


class Monitor(ABC):
    """Watches a run, such as a progress bar or a probe."""

    def run_started(self, first_step: int, num_steps: int) -> None:  # noqa: B027
        """Learn where the run begins, after a resume too, and where it ends."""

    @abstractmethod
    def step_done(
        self, step: int, metrics: Mapping[str, float | int], teacher: nn.Module
    ) -> Mapping[str, float | int]:
        """Look at a step; what is returned joins its metrics.

        Args:
            step: Number of the step, from 0.
            metrics: What the step measured.
            teacher: The teacher's backbone after the step, not to be changed.
        """

"""How others watch a run: the loop hands out numbers and the networks, and knows nobody."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from eosin.train.student_teacher import StudentTeacher


class Monitor(ABC):
    """Watches a run, such as a progress bar or a probe.

    Every process of a run has its own monitors and calls them alike, as the networks of a sharded
    run compute only where all processes take part; what the first process's return is kept.
    """

    def run_started(self, first_step: int, num_steps: int) -> None:  # noqa: B027
        """Learn where the run begins, after a resume too, and where it ends."""

    @abstractmethod
    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        """Look at a step; what is returned joins its metrics.

        Args:
            step: Number of the step, from 0.
            metrics: What the step measured, and what the monitors before this one returned.
            model: The networks after the step, to be left as they are. `model.teacher` and
                `model.student` hold `backbone`, `dino_head` and, where there is one, `ibot_head`.
        """

    def step_written(self, step: int) -> None:  # noqa: B027
        """Learn that a step's metrics are written, and its checkpoint where one was due.

        What is raised here ends the run and loses nothing of the step, of the last one either.
        """

    def run_ended(self) -> None:  # noqa: B027
        """Close what is open; called once, also where the run stops by an error."""

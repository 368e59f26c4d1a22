"""Metrics for TensorBoard: `tensorboard --logdir RUNS` shows all runs below a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch

from eosin.errors import MissingDependencyError
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.features import present_world

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def require_tensorboard() -> None:
    """Refuse early.

    Raises:
        MissingDependencyError: If TensorBoard's writer cannot be imported.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            f"metrics for TensorBoard need 'tensorboard' ({error}): pip install tensorboard"
        ) from error


@final
class TensorBoard(Monitor):
    """Writes each step's metrics as scalars; to stand after the monitors whose metrics it writes.

    What steps that are done again had written is hidden by TensorBoard itself.
    """

    def __init__(self, folder: Path) -> None:
        """Write to a folder.

        Raises:
            MissingDependencyError: If TensorBoard's writer cannot be imported.
        """
        require_tensorboard()
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def run_started(self, first_step: int, num_steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        if present_world(torch.device("cpu")).is_main:
            self._writer = SummaryWriter(str(self._folder), purge_step=first_step)

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(_grouped(name), value, step)
        return {}

    def run_ended(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _grouped(name: str) -> str:
    """Return a metric's name under the heading that TensorBoard folds it away by."""
    heading, _, rest = name.partition("_")
    return f"{heading}/{rest}" if rest and heading in ("loss", "grad", "watch") else f"run/{name}"

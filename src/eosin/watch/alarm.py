"""Says when a model collapses, and what to do; it looks at gauges and at nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch

from eosin.errors import CollapseError
from eosin.names import get_logger
from eosin.train.config import TrainConfig
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.features import present_world

logger = get_logger(__name__)

OnCollapse = Literal["warn", "stop"]

SMALL_BATCH = 64
"""Below this, few tiles compete for a prototype: collapses are reported mostly from such runs
(facebookresearch/dinov2 issues 173, 272)."""

MIN_LAYERSCALE = 1e-2
"""Below this, blocks add next to nothing to their input at first."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CollapseSigns:
    """What a bank's gauges must not pass.

    Set where nothing but a collapse goes. Measured on phantoms and real slides: runs that collapsed
    were at a mean cosine of 0.997 to 1.000, 1.06 to 1.3 directions and 0.000 nats; ViTs of random
    weights (LayerScale 1) at 0.81 to 0.99, 2.8 to 10 and 0.07 to 0.25; ones that learn at a mean
    cosine around 0 and tens of directions within the first tens of steps. A ViT of random weights
    with LayerScale 1e-5 has all signs until its blocks begin to do something.
    """

    max_mean_cosine: float = 0.99
    """Of the class tokens of different tiles, above which all look the same."""
    min_rankme: float = 1.5
    """Directions that the class tokens use, below which one carries all."""
    min_choice_nats: float = 0.01
    """What a tile tells of the prototype that the teacher chooses (mutual information). At 0 the
    teacher says the same of every tile, be it one prototype or all of them alike."""

    def seen(self, metrics: Mapping[str, float | int]) -> list[str]:
        """Return a sentence for each sign in the metrics of a step at which the bank was gauged."""
        signs: list[str] = []
        mean_cosine, rankme = metrics["watch_mean_cosine"], metrics["watch_rankme"]
        nats = metrics["watch_mean_choice_entropy"] - metrics["watch_teacher_entropy"]
        # Written so that NaN is a sign too: no comparison with it holds.
        if not mean_cosine <= self.max_mean_cosine:
            signs.append(
                f"two tiles have a mean cosine of {mean_cosine:.3f} (above {self.max_mean_cosine})"
            )
        if not rankme >= self.min_rankme:
            signs.append(f"tiles use {rankme:.2f} directions (below {self.min_rankme})")
        if not nats >= self.min_choice_nats:
            signs.append(
                f"the teacher's choice depends on the tile by {nats:.3f} nats (below "
                f"{self.min_choice_nats})"
            )
        return signs


@final
class CollapseAlarm(Monitor):
    """Warns of a collapse, or ends the run; to stand after the monitors that look at the bank.

    It speaks after two looks in a row with a sign. A model of random weights has the signs too and
    is left alone until the learning rate is warm; learnt weights are watched from the first step.
    """

    def __init__(
        self, config: TrainConfig, on_collapse: OnCollapse, signs: CollapseSigns | None = None
    ) -> None:
        """Watch for a collapse.

        Args:
            config: Of the run; tells when to begin, and what to do.
            on_collapse: Warn at every such look, or end the run with a CollapseError, once what
                was seen is in its metrics.
            signs: What counts as a collapse.
        """
        self._first_step = first_alarm_step(config)
        self._advice = advice(config)
        self._on_collapse = on_collapse
        self._signs = signs or CollapseSigns()
        self._num_in_a_row = 0
        self._verdict: str | None = None

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        if step < self._first_step or "watch_mean_cosine" not in metrics:
            return {}
        seen = self._signs.seen(metrics)
        self._num_in_a_row = self._num_in_a_row + 1 if seen else 0
        if self._num_in_a_row >= 2:
            verdict = (
                f"the model has collapsed by step {step}, or has not begun to learn: "
                f"{'; '.join(seen)}. {self._advice}"
            )
            if present_world(torch.device("cpu")).is_main:
                logger.warning("%s", verdict)
            if self._on_collapse == "stop":
                self._verdict = verdict
        return {}

    def step_written(self, step: int) -> None:
        if self._verdict is not None:
            raise CollapseError(self._verdict)


def first_alarm_step(config: TrainConfig) -> int:
    """Return the first step at which signs of a collapse are one.

    Learnt backbones under drawn heads were at 0.2 nats and more, and far from the other signs too.
    """
    if config.start != "random":
        return 0
    return config.optim.warmup_steps + config.optim.freeze_backbone_steps


def advice(config: TrainConfig) -> str:
    """Return what to change in a run that collapses, by the names of its settings."""
    optim, losses, teacher = config.optim, config.losses, config.teacher
    steps = [
        f"lower optim.base_lr={optim.base_lr:g} two to ten times, or lengthen "
        f"optim.warmup_steps={optim.warmup_steps}"
    ]
    if config.start == "random" and config.model.layerscale_init < MIN_LAYERSCALE:
        steps.append(
            f"begin with model.layerscale_init=1.0 instead of {config.model.layerscale_init:g}, "
            "with which blocks of random weights do nothing for long"
        )
    if not losses.kde_weight and not losses.koleo_weight:
        steps.append("keep tiles apart with losses.kde_weight=0.05")
    elif losses.kde_weight:
        steps.append(f"raise losses.kde_weight={losses.kde_weight:g}")
    if config.part_batch < SMALL_BATCH:
        steps.append(
            f"raise global_batch above {SMALL_BATCH} (parts that are compared have "
            f"{config.part_batch} patches)"
        )
    if teacher.temperature > 0.04:
        steps.append(
            f"keep teacher.temperature={teacher.temperature:g} at 0.04, or lengthen "
            f"teacher.warmup_temperature_steps={teacher.warmup_temperature_steps}"
        )
    if losses.centering == "softmax":
        steps.append("balance the targets with losses.centering='sinkhorn_knopp'")
    numbered = "; ".join(f"({number}) {step}" for number, step in enumerate(steps, start=1))
    return f"Start anew, or from a checkpoint before it, and try in this order: {numbered}"

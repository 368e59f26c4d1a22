"""How training went: losses, gradients, rates and speed over the steps."""

import math
from collections.abc import Mapping

import numpy as np

from eosin.report.gauges import MACHINE_METRICS, PREFIX, collapse_panels
from eosin.report.history import Curve, History
from eosin.report.page import Section, collapsible, paragraph
from eosin.report.panels import Panel, draw_panels
from eosin.train.config import TrainConfig

_REGULARISERS = ("loss_kde", "loss_koleo")
_COUNTERS = frozenset({"first_sample", "last_sample", "places_sum"})
"""What proves that a run was resumed exactly, and is no curve."""

_WAIT_SHARE = "wait share"

_SPEED = (
    Panel(
        title="Speed",
        metrics=(
            ("watch_patches_per_s", "with all between steps"),
            ("patches_per_s", "within steps"),
        ),
        y_label="patches/s",
        meaning="Patches that were trained on, over all devices.",
    ),
    Panel(
        title="Waiting for patches",
        metrics=((_WAIT_SHARE, "waiting"),),
        y_label="share of the time",
        healthy=(-math.inf, 0.05),
        meaning="Near 0 the device is the limit; near 1 reading is: give it more threads, or "
        "measure with eosin bench.",
    ),
)

_RATES = (
    Panel(title="Learning rate", metrics=(("lr", "rate"),), meaning="After scaling to the batch."),
    Panel(title="Weight decay", metrics=(("weight_decay", "decay"),), meaning="Of AdamW."),
    Panel(
        title="Teacher's momentum",
        metrics=(("teacher_momentum", "momentum"),),
        meaning="At 1 the teacher stands still.",
    ),
    Panel(
        title="Teacher's temperature",
        metrics=(("teacher_temperature", "temperature"),),
        meaning="Lower makes sharper targets.",
    ),
    Panel(
        title="Step time",
        metrics=(("watch_wall_step_s", "step to step"), ("step_s", "the step alone")),
        meaning="Seconds; from step to step, checkpoints and gauges are in it.",
    ),
    Panel(
        title="Share of the matrix floor",
        metrics=(("watch_floor_share", "share"),),
        meaning="Of the time, what the step's products need at the device's best rate.",
    ),
    Panel(
        title="Memory",
        metrics=(("watch_rss_gib", "process"), ("watch_cuda_peak_gib", "GPU, largest")),
        meaning="GiB.",
    ),
    Panel(
        title="Places turned away",
        metrics=(("num_rejections", "places"),),
        meaning="By filters and faults, in a step.",
    ),
)


def curve_section(config: TrainConfig, history: History) -> Section:
    """Return the section of the curves; what nobody knows is drawn too, folded away."""
    if not history.num_records:
        return Section(heading="Training", blocks=(paragraph("No step is done yet."),))
    curves = {**history.curves, **_waiting(history.curves)}
    blocks = [paragraph(_waiting_text(curves))]
    if history.num_damaged:
        blocks.append(
            paragraph(f"{history.num_damaged:,} damaged lines of metrics.jsonl are left out.")
        )
    learning = _learning_panels(curves)
    blocks.append(draw_panels([*learning, *_SPEED], curves))
    blocks.append(draw_panels(_RATES, curves, in_a_row=3))
    drawn = (*learning, *_SPEED, *_RATES, *collapse_panels(config))
    known = {name for panel in drawn for name, _ in panel.metrics} | _COUNTERS | {"data_wait_s"}
    others = [
        Panel(title=name, metrics=((name, name),), meaning="As it was measured.")
        for name in sorted(set(curves) - known)
        if not name.startswith(PREFIX) or name in MACHINE_METRICS
    ]
    if others:
        folded = draw_panels(others, curves, in_a_row=3)
        blocks.append(collapsible("everything else that was measured", folded))
    return Section(heading="Training", blocks=tuple(blocks))


def _learning_panels(curves: Mapping[str, Curve]) -> tuple[Panel, ...]:
    losses = [name for name in curves if name.startswith("loss_") and name not in _REGULARISERS]
    norms = [name for name in curves if name.startswith("grad_norm_")]
    return (
        Panel(
            title="Loss",
            metrics=(("loss", "total"),),
            y_label="weighted sum",
            meaning="The sum of all terms. It says little of how good features are: see the "
            "gauges.",
        ),
        Panel(
            title="Terms",
            metrics=tuple((name, _spoken(name, "loss_")) for name in losses),
            y_label="weighted term",
            meaning="Each as it is added to the loss.",
        ),
        Panel(
            title="Regulariser",
            metrics=tuple((name, _spoken(name, "loss_")) for name in _REGULARISERS),
            y_label="weighted term",
            meaning="What keeps tiles apart; lower is further apart.",
        ),
        Panel(
            title="Gradient norms",
            metrics=tuple((name, _spoken(name, "grad_norm_")) for name in norms),
            y_label="norm before clipping",
            is_log=True,
            meaning="Of each part on its own.",
        ),
    )


def _spoken(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).replace("_", " ")


def _waiting(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Return the share of the time that was spent waiting, where both parts were measured."""
    wait, step = curves.get("data_wait_s"), curves.get("step_s")
    if wait is None or step is None or not np.array_equal(wait.steps, step.steps):
        return {}
    share = wait.mean / np.maximum(wait.mean + step.mean, 1e-9)
    newest = float(share[-1])
    curve = Curve(
        steps=wait.steps, mean=share, low=share, high=share, counts=wait.counts, newest=newest
    )
    return {_WAIT_SHARE: curve}


def _waiting_text(curves: Mapping[str, Curve]) -> str:
    if not {"data_wait_s", "step_s"} <= set(curves):
        return "How long steps took was not measured."
    wait_s, step_s = curves["data_wait_s"].total, curves["step_s"].total
    share = wait_s / max(wait_s + step_s, 1e-9)
    return (
        f"Of {hours(wait_s + step_s)} in steps, {share:.1%} was spent waiting for patches. Lines "
        "are means of neighbouring steps where there are more steps than pixels; the shade behind "
        "them reaches from the lowest to the highest."
    )


def hours(seconds: float) -> str:
    """Return a time as people say it, such as 2 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"

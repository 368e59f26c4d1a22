"""Panels: small charts of what a run measured, each with a sentence that says how to read it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from eosin.report.axis import Number, number_label
from eosin.report.charts import Guides, line_chart
from eosin.report.history import Curve
from eosin.report.page import Html, figure, side_by_side


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Say which metrics share a chart, and what a reader should look for."""

    title: str
    metrics: tuple[tuple[str, str], ...]
    """Names in the metrics, each with the name that people read; those not measured are left out.
    The first that was measured speaks for the panel."""
    meaning: str
    y_label: str = ""
    healthy: tuple[Number, Number] | None = None
    """What is no reason to worry; infinite where it has no end."""
    references: tuple[tuple[Number, str], ...] = ()
    is_log: bool = False

    def measured(self, curves: Mapping[str, Curve]) -> list[str]:
        """Return the metrics that a run has."""
        return [name for name, _ in self.metrics if name in curves]

    def verdict(self, value: Number) -> str:
        """Return whether a value is within what is healthy, in a word."""
        if self.healthy is None:
            return ""
        return "healthy" if self.healthy[0] <= value <= self.healthy[1] else "look"

    @property
    def healthy_text(self) -> str:
        """What is healthy, in words."""
        if self.healthy is None:
            return "no range"
        low, high = self.healthy
        if math.isinf(low):
            return f"below {number_label(float(f'{high:.3g}'))}"
        if math.isinf(high):
            return f"above {number_label(float(f'{low:.3g}'))}"
        return f"{number_label(low)} to {number_label(high)}"


def draw_panels(
    panels: Sequence[Panel],
    curves: Mapping[str, Curve],
    *,
    marks: Sequence[Number] = (),
    in_a_row: Literal[2, 3] = 2,
) -> Html:
    """Return the panels that have something to draw, beside one another, with their sentences.

    Args:
        panels: In reading order.
        curves: What was measured, by name.
        marks: Steps at which something happened.
        in_a_row: Two or three, where the screen is wide enough.
    """
    width_px, height_px = (560, 300) if in_a_row == 2 else (400, 230)
    figures = []
    for panel in panels:
        if not panel.measured(curves):
            continue
        names = dict(panel.metrics)
        chart = line_chart(
            [curves[name].series(names[name]) for name in panel.measured(curves)],
            title=panel.title,
            x_label="step",
            y_label=panel.y_label,
            is_log_y=panel.is_log,
            guides=Guides(healthy=panel.healthy, references=panel.references, marks=tuple(marks)),
            width_px=width_px,
            height_px=height_px,
        )
        figures.append(figure(chart, panel.meaning))
    # One grid for all, so that a narrow screen has no holes at the ends of rows.
    return side_by_side(figures, in_a_row=in_a_row)

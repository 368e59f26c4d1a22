"""Charts as inline SVG: lines over steps, and values with their intervals.

Series differ in colour (blue, orange, ... that colour-blind readers tell apart) and in dash or
place, so that a grey print still reads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from eosin.errors import ConfigError
from eosin.report.axis import Axis, Number
from eosin.report.page import Html, escape
from eosin.report.svg import (
    CHARACTER_PX,
    COLOURS,
    INK,
    SOFT,
    Frame,
    dot,
    drawing,
    fitted,
    labels,
    nothing,
    path,
    rule,
    text,
    x_grid,
    y_grid,
)

DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")
HEALTHY, ALARM = "#009e73", "#d55e00"

COLUMN_PX = 3
"""Points of a long series that share so many pixels are drawn as one."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Name points to be joined by a line; where x or y is NaN or infinite it is broken."""

    name: str
    x: tuple[Number, ...]
    y: tuple[Number, ...]
    low: tuple[Number, ...] = ()
    """The lowest value that each point stands for, where it stands for many; else empty."""
    high: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ConfigError(f"series {self.name!r} has {len(self.x)} x for {len(self.y)} y")
        if len(self.low) != len(self.high) or len(self.low) not in (0, len(self.y)):
            raise ConfigError(
                f"series {self.name!r} has {len(self.low)} low and {len(self.high)} high values "
                f"for {len(self.y)} y; give one of both for each, or none"
            )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Guides:
    """What helps to read a line chart."""

    healthy: tuple[Number, Number] | None = None
    """Shaded from the one to the other; infinite where it has no end."""
    references: tuple[tuple[Number, str], ...] = ()
    """Values to mark with a broken line, and what they are, such as a collapse."""
    marks: tuple[Number, ...] = ()
    """Places on x at which something happened, such as an alarm."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Give a value with the interval that is drawn as its whisker; NaN edges draw none."""

    label: str
    """The row that it stands in; estimates of one label stand below one another."""
    series: str
    """What its colour means, such as the model."""
    value: Number
    low: Number
    high: Number


class _Point(NamedTuple):
    x: float
    y: float
    low: float
    high: float


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    is_log_y: bool = False,
    guides: Guides | None = None,
    width_px: int = 560,
    height_px: int = 300,
) -> Html:
    """Draw series over a common x.

    On a logarithmic axis values of zero and below are gaps. A series of more points than can be
    seen is drawn by its mean in each column of pixels, over a band from the lowest to the highest.
    Without any point to draw, the chart says so.
    """
    guides = guides or Guides()
    segments = [_segments(one, is_log_y) for one in series]
    points = [point for several in segments for segment in several for point in segment]
    legend, top = _legend([one.name for one in series], width_px, is_dot=False)
    frame = (64.0 if y_label else 52.0, top, width_px - 18.0, height_px - 46.0)
    parts = [text(16, 22, title, colour=INK, size=15, weight=600), *legend]
    if points:
        x_axis = Axis.around([point.x for point in points], (frame[0], frame[2]), margin=0.0)
        extent = [value for point in points for value in (point.low, point.high)]
        extent += _finite_guides(guides, is_log_y)
        y_axis = Axis.around(extent, (frame[3], frame[1]), is_log=is_log_y)
        parts += [*_healthy(guides, y_axis, frame), *x_grid(x_axis, frame), *y_grid(y_axis, frame)]
        parts += _marks(guides, x_axis, frame)
        for index, several in enumerate(segments):
            for segment in several:
                placed = [_placed(point, x_axis, y_axis) for point in segment]
                parts.append(_line(placed, index))
        parts += _references(guides, segments, y_axis, frame)
    else:
        parts.append(nothing(frame))
    return drawing(width_px, height_px, title, [*parts, *labels(x_label, y_label, frame)])


def interval_chart(
    estimates: Sequence[Estimate],
    *,
    title: str,
    x_label: str,
    at_least: tuple[Number, Number] | None = None,
    reference: tuple[Number, str] | None = None,
    width_px: int = 560,
) -> Html:
    """Draw each value as a dot with its interval as a whisker: rows by label, colours by series.

    Args:
        estimates: In the order in which rows and series are shown; the height follows from them.
        title: Stands above.
        x_label: What the values are, with their unit.
        at_least: What the axis covers in any case; it grows to what values and intervals need.
        reference: A value to mark with a broken line, and what it is, such as chance.
        width_px: Of the whole chart.
    """
    shown = [one for one in estimates if math.isfinite(one.value)]
    names = list(dict.fromkeys(one.series for one in shown))
    rows = list(dict.fromkeys(one.label for one in shown))
    legend, top = _legend(names, width_px, is_dot=True)
    top += 16 if reference and shown else 0
    row_px = 20 * max(len(names), 1) + 12
    left = 28 + min(CHARACTER_PX * max(map(len, rows), default=0), 0.4 * width_px)
    frame = (left, top, width_px - 64.0, top + row_px * max(len(rows), 2 if not shown else 1))
    parts = [text(16, 22, title, colour=INK, size=15, weight=600), *legend]
    if shown:
        axis = Axis.around(_extent(shown, at_least, reference), (frame[0], frame[2]))
        parts += [*x_grid(axis, frame), *_reference(reference, axis, frame)]
        for row, label in enumerate(rows):
            middle = frame[1] + (row + 0.5) * row_px
            room_px = frame[0] - 28
            parts.append(text(frame[0] - 12, middle + 4, fitted(label, room_px), anchor="end"))
            for one in (one for one in shown if one.label == label):
                index = names.index(one.series)
                parts.append(
                    _estimate(one, axis, middle + 20 * (index - (len(names) - 1) / 2), index)
                )
    else:
        parts.append(nothing(frame))
    return drawing(width_px, frame[3] + 46, title, [*parts, *labels(x_label, "", frame)])


def _segments(series: Series, is_log: bool) -> list[list[_Point]]:
    """Cut a series where it has no value that can be drawn."""
    segments: list[list[_Point]] = [[]]
    low, high = series.low or series.y, series.high or series.y
    for values in zip(series.x, series.y, low, high, strict=True):
        if all(map(math.isfinite, values)) and not (is_log and min(values[1:]) <= 0):
            segments[-1].append(_Point(*map(float, values)))
        elif segments[-1]:
            segments.append([])
    return [segment for segment in segments if segment]


def _placed(point: _Point, x_axis: Axis, y_axis: Axis) -> _Point:
    x, y = x_axis.place(point.x), y_axis.place(point.y)
    if point.low == point.high:
        return _Point(x, y, y, y)
    return _Point(x, y, y_axis.place(point.low), y_axis.place(point.high))


def _line(points: list[_Point], index: int) -> str:
    """Draw one unbroken stretch, points in px."""
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    if len(points) == 1:
        return dot((points[0].x, points[0].y), colour, radius=2.5)
    columns: dict[int, list[_Point]] = {}
    for point in points:
        columns.setdefault(int(point.x / COLUMN_PX), []).append(point)
    if len(points) > 2 * len(columns) > 2:
        points = [_joined(column) for column in columns.values()]
    band = ""
    if any(point.low != point.high for point in points):
        # Upwards on screen is downwards in px; the polygon does not care.
        edges = [(p.x, p.low) for p in points] + [(p.x, p.high) for p in reversed(points)]
        band = f'<polygon points="{path(edges)}" fill="{colour}" fill-opacity="0.2"/>'
    return (
        f'{band}<polyline points="{path([(p.x, p.y) for p in points])}" fill="none" '
        f'stroke="{colour}" stroke-width="1.8" stroke-linejoin="round" stroke-dasharray="{dash}"/>'
    )


def _joined(points: list[_Point]) -> _Point:
    """Return the mean of points in px, over all that they reach."""
    reach = [value for point in points for value in (point.low, point.high)]
    x, y = (sum(values) / len(points) for values in ((p.x for p in points), (p.y for p in points)))
    return _Point(x, y, min(reach), max(reach))


def _finite_guides(guides: Guides, is_log: bool) -> Iterator[float]:
    for value in (*(guides.healthy or ()), *(value for value, _ in guides.references)):
        if math.isfinite(value) and not (is_log and value <= 0):
            yield value


def _healthy(guides: Guides, axis: Axis, frame: Frame) -> list[str]:
    if guides.healthy is None:
        return []
    low, high = (min(max(value, axis.low), axis.high) for value in guides.healthy)
    top, bottom = axis.place(high), axis.place(low)
    return [
        f'<rect x="{frame[0]:.1f}" y="{top:.1f}" width="{frame[2] - frame[0]:.1f}" '
        f'height="{bottom - top:.1f}" fill="{HEALTHY}" fill-opacity="0.1"/>'
    ]


def _references(
    guides: Guides, segments: Sequence[list[list[_Point]]], axis: Axis, frame: Frame
) -> list[str]:
    """Draw reference values, each named at the end where lines are further from it."""
    firsts = [several[0][0].y for several in segments if several]
    lasts = [several[-1][-1].y for several in segments if several]
    parts = []
    for value, name in guides.references:
        if not axis.low <= value <= axis.high:
            continue
        y = axis.place(value)
        parts.append(rule((frame[0], y), (frame[2], y), SOFT, width=1.2, dash="4 3"))
        left, right = (min(abs(y - axis.place(one)) for one in ends) for ends in (firsts, lasts))
        at, anchor = (frame[0] + 4, "start") if left > right else (frame[2] - 4, "end")
        above = y - 5 if y - 5 - 12 >= frame[1] else y + 14
        parts.append(text(at, above, name, anchor=anchor, size=12, has_halo=True))
    return parts


def _marks(guides: Guides, axis: Axis, frame: Frame) -> list[str]:
    shown = [axis.place(x) for x in guides.marks if axis.low <= x <= axis.high]
    return [rule((x, frame[1]), (x, frame[3]), ALARM, width=1.2, dash="2 2") for x in shown]


def _estimate(one: Estimate, axis: Axis, y: Number, index: int) -> str:
    colour = COLOURS[index % len(COLOURS)]
    whisker = ""
    if math.isfinite(one.low) and math.isfinite(one.high):
        low, high = axis.place(one.low), axis.place(one.high)
        whisker = rule((low, y), (high, y), colour, width=2)
        whisker += "".join(rule((x, y - 4), (x, y + 4), colour, width=2) for x in (low, high))
    value = f"{one.value:.3f}" if axis.high - axis.low <= 2 else f"{one.value:.1f}"
    return (
        f"<g><title>{escape(_spoken(one))}</title>{whisker}"
        f"{dot((axis.place(one.value), y), colour, radius=4.5)}"
        f"{text(axis.end_px + 10, y + 4, value, colour=colour, weight=600)}</g>"
    )


def _spoken(one: Estimate) -> str:
    return f"{one.label}, {one.series}: {one.value:.4g} ({one.low:.4g} to {one.high:.4g})"


def _extent(
    estimates: Sequence[Estimate],
    at_least: tuple[Number, Number] | None,
    reference: tuple[Number, str] | None,
) -> list[Number]:
    values = [value for one in estimates for value in (one.value, one.low, one.high)]
    values += list(at_least or ()) + ([reference[0]] if reference else [])
    return [value for value in values if math.isfinite(value)]


def _reference(reference: tuple[Number, str] | None, axis: Axis, frame: Frame) -> list[str]:
    if reference is None:
        return []
    value, name = reference
    x = axis.place(value)
    return [
        rule((x, frame[1] - 4), (x, frame[3]), SOFT, width=1.2, dash="4 3"),
        text(x, frame[1] - 9, name, anchor="middle", size=12),
    ]


def _legend(names: Sequence[str], width_px: Number, *, is_dot: bool) -> tuple[list[str], float]:
    """Return the legend, wrapped to the width, and where the plotting area may begin."""
    if len(names) < 2:
        return [], 40.0
    parts: list[str] = []
    x, y = 18.0, 44.0
    for index, name in enumerate(names):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        short = fitted(name, width_px - 70)
        needed_px = 36 + CHARACTER_PX * len(short) + 16
        if x > 18 and x + needed_px > width_px:
            x, y = 18.0, y + 20
        if is_dot:
            parts.append(dot((x + 12, y - 4), colour, radius=4.5))
        else:
            parts.append(rule((x, y - 4), (x + 26, y - 4), colour, width=2.4, dash=dash))
        parts.append(text(x + 32, y, short, colour=INK))
        x += needed_px
    return parts, y + 18

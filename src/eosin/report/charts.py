"""Charts as inline SVG: lines over steps, and values with their intervals.

Series differ in colour (blue, orange, ... that colour-blind readers tell apart) and in dash or
place, so that a grey print still reads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import final

from eosin.errors import ConfigError
from eosin.report.axis import Axis, Number, number_label
from eosin.report.page import Html

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#7b3f9d", "#56b4e9", "#444444")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")
INK, SOFT, GRID = "#26222d", "#6a6474", "#e4dfe9"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"
CHARACTER_PX = 6.6
"""About how wide a character of the labels is; SVG cannot be asked before it is shown."""

COLUMN_PX = 3
"""Points of a long series that share so many pixels are drawn as one."""

Point = tuple[Number, Number]
Frame = tuple[float, float, float, float]
"""Left, top, right and bottom of the plotting area, px."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Name points to be joined by a line; where x or y is NaN or infinite it is broken."""

    name: str
    x: tuple[Number, ...]
    y: tuple[Number, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ConfigError(f"series {self.name!r} has {len(self.x)} x for {len(self.y)} y")


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


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    is_log_y: bool = False,
    width_px: int = 560,
    height_px: int = 300,
) -> Html:
    """Draw series over a common x.

    On a logarithmic axis values of zero and below are gaps. A series of more points than can be
    seen is drawn by its mean in each column of pixels, over a band from the lowest to the highest.
    Without any point to draw, the chart says so.
    """
    segments = [_segments(one, is_log_y) for one in series]
    points = [point for several in segments for segment in several for point in segment]
    legend, top = _legend([one.name for one in series], width_px, is_dot=False)
    frame = (64.0, top, width_px - 18.0, height_px - 46.0)
    parts = [_text(16, 22, title, colour=INK, size=15, weight=600), *legend]
    if points:
        x_axis = Axis.around([x for x, _ in points], (frame[0], frame[2]), margin=0.0)
        y_axis = Axis.around([y for _, y in points], (frame[3], frame[1]), is_log=is_log_y)
        parts += [*_x_grid(x_axis, frame), *_y_grid(y_axis, frame)]
        for index, several in enumerate(segments):
            for segment in several:
                placed = [(x_axis.place(x), y_axis.place(y)) for x, y in segment]
                parts.append(_line(placed, index))
    else:
        parts.append(_nothing(frame))
    return _svg(width_px, height_px, title, [*parts, *_labels(x_label, y_label, frame)])


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
    labels = list(dict.fromkeys(one.label for one in shown))
    legend, top = _legend(names, width_px, is_dot=True)
    top += 16 if reference and shown else 0
    row_px = 20 * max(len(names), 1) + 12
    left = 28 + min(CHARACTER_PX * max(map(len, labels), default=0), 0.4 * width_px)
    frame = (left, top, width_px - 64.0, top + row_px * max(len(labels), 2 if not shown else 1))
    parts = [_text(16, 22, title, colour=INK, size=15, weight=600), *legend]
    if shown:
        axis = Axis.around(_extent(shown, at_least, reference), (frame[0], frame[2]))
        parts += [*_x_grid(axis, frame), *_reference(reference, axis, frame)]
        for row, label in enumerate(labels):
            middle = frame[1] + (row + 0.5) * row_px
            room_px = frame[0] - 28
            parts.append(_text(frame[0] - 12, middle + 4, _fitted(label, room_px), anchor="end"))
            for one in (one for one in shown if one.label == label):
                index = names.index(one.series)
                parts.append(
                    _estimate(one, axis, middle + 20 * (index - (len(names) - 1) / 2), index)
                )
    else:
        parts.append(_nothing(frame))
    return _svg(width_px, frame[3] + 46, title, [*parts, *_labels(x_label, "", frame)])


def _segments(series: Series, is_log: bool) -> list[list[Point]]:
    """Cut a series where it has no value that can be drawn."""
    segments: list[list[Point]] = [[]]
    for x, y in zip(series.x, series.y, strict=True):
        if math.isfinite(x) and math.isfinite(y) and not (is_log and y <= 0):
            segments[-1].append((float(x), float(y)))
        elif segments[-1]:
            segments.append([])
    return [segment for segment in segments if segment]


def _line(points: list[Point], index: int) -> str:
    """Draw one unbroken stretch, points in px."""
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    if len(points) == 1:
        return _dot(points[0], colour, radius=2.5)
    columns: dict[int, list[Point]] = {}
    for x, y in points:
        columns.setdefault(int(x / COLUMN_PX), []).append((x, y))
    band = ""
    if len(points) > 2 * len(columns) > 2:
        band = _band(list(columns.values()), colour)
        points = [_mean(column) for column in columns.values()]
    return (
        f'{band}<polyline points="{_path(points)}" fill="none" stroke="{colour}" '
        f'stroke-width="1.8" stroke-linejoin="round" stroke-dasharray="{dash}"/>'
    )


def _band(columns: list[list[Point]], colour: str) -> str:
    """Fill from the lowest to the highest point of each column."""
    upper = [(_mean(column)[0], min(y for _, y in column)) for column in columns]
    lower = [(_mean(column)[0], max(y for _, y in column)) for column in columns]
    return f'<polygon points="{_path(upper + lower[::-1])}" fill="{colour}" fill-opacity="0.2"/>'


def _mean(points: list[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _path(points: list[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _estimate(one: Estimate, axis: Axis, y: Number, index: int) -> str:
    colour = COLOURS[index % len(COLOURS)]
    whisker = ""
    if math.isfinite(one.low) and math.isfinite(one.high):
        low, high = axis.place(one.low), axis.place(one.high)
        whisker = _rule((low, y), (high, y), colour, width=2)
        whisker += "".join(_rule((x, y - 4), (x, y + 4), colour, width=2) for x in (low, high))
    value = f"{one.value:.3f}" if axis.high - axis.low <= 2 else f"{one.value:.1f}"
    return (
        f"<g><title>{escape(_spoken(one))}</title>{whisker}"
        f"{_dot((axis.place(one.value), y), colour, radius=4.5)}"
        f"{_text(axis.end_px + 10, y + 4, value, colour=colour, weight=600)}</g>"
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
        _rule((x, frame[1] - 4), (x, frame[3]), SOFT, width=1.2, dash="4 3"),
        _text(x, frame[1] - 9, name, anchor="middle", size=12),
    ]


def _legend(names: Sequence[str], width_px: Number, *, is_dot: bool) -> tuple[list[str], float]:
    """Return the legend, wrapped to the width, and where the plotting area may begin."""
    if len(names) < 2:
        return [], 40.0
    parts: list[str] = []
    x, y = 18.0, 44.0
    for index, name in enumerate(names):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        fitted = _fitted(name, width_px - 70)
        needed_px = 36 + CHARACTER_PX * len(fitted) + 16
        if x > 18 and x + needed_px > width_px:
            x, y = 18.0, y + 20
        if is_dot:
            parts.append(_dot((x + 12, y - 4), colour, radius=4.5))
        else:
            parts.append(_rule((x, y - 4), (x + 26, y - 4), colour, width=2.4, dash=dash))
        parts.append(_text(x + 32, y, fitted, colour=INK))
        x += needed_px
    return parts, y + 18


def _fitted(text: str, room_px: Number) -> str:
    room = max(int(room_px / CHARACTER_PX + 1e-6), 1)
    return text if len(text) <= room else text[: max(room - 1, 1)] + "\u2026"


def _x_grid(axis: Axis, frame: Frame) -> list[str]:
    parts = [_rule((frame[0], frame[3]), (frame[2], frame[3]), SOFT)]
    for tick in axis.ticks(6):
        x = axis.place(tick)
        parts.append(_rule((x, frame[1]), (x, frame[3]), GRID))
        parts.append(_text(x, frame[3] + 17, number_label(tick), anchor="middle", size=12))
    return parts


def _y_grid(axis: Axis, frame: Frame) -> list[str]:
    parts = []
    for tick in axis.ticks(5):
        y = axis.place(tick)
        parts.append(_rule((frame[0], y), (frame[2], y), GRID))
        parts.append(_text(frame[0] - 8, y + 4, number_label(tick), anchor="end", size=12))
    return parts


def _labels(x_label: str, y_label: str, frame: Frame) -> list[str]:
    parts = [_text((frame[0] + frame[2]) / 2, frame[3] + 37, x_label, anchor="middle")]
    if y_label:
        x, y = 16, (frame[1] + frame[3]) / 2
        turned = _text(0, 0, y_label, anchor="middle")
        parts.append(f'<g transform="translate({x} {y:.1f}) rotate(-90)">{turned}</g>')
    return parts


def _nothing(frame: Frame) -> str:
    x, y = (frame[0] + frame[2]) / 2, (frame[1] + frame[3]) / 2
    return _text(x, y, "nothing to draw yet", anchor="middle")


def _dot(at: Point, colour: str, *, radius: Number) -> str:
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}" fill="{colour}"/>'


def _rule(start: Point, end: Point, colour: str, *, width: Number = 1, dash: str = "") -> str:
    broken = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"{broken}/>'
    )


def _text(
    x: Number,
    y: Number,
    text: str,
    *,
    colour: str = SOFT,
    size: int = 13,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(width_px: Number, height_px: Number, title: str, parts: Sequence[str]) -> Html:
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px:.0f} {height_px:.0f}" '
        f'width="{width_px:.0f}" height="{height_px:.0f}" role="img" aria-label="{escape(title)}" '
        f'font-family="{FONT}"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )

"""Counts by name as inline SVG: one bar each while names can be read, one outline for thousands."""

from collections.abc import Sequence

from eosin.report.axis import Axis
from eosin.report.page import Html, escape
from eosin.report.svg import (
    CHARACTER_PX,
    COLOURS,
    INK,
    Frame,
    drawing,
    fitted,
    labels,
    nothing,
    path,
    text,
    x_grid,
    y_grid,
)

MAX_BARS = 40
"""More names than this are drawn as an outline without names."""

_BAR_PX = 20
_MAX_CORNERS = 500


def count_chart(
    counts: Sequence[tuple[str, int]], *, title: str, x_label: str, name: str, width_px: int = 760
) -> Html:
    """Draw counts from the largest to the smallest.

    Args:
        counts: Each with its name, in any order.
        title: Stands above.
        x_label: What is counted.
        name: What has the counts, such as slides.
        width_px: Of the whole chart; the height follows from the number of bars.
    """
    ranked = sorted(counts, key=lambda one: (-one[1], one[0]))
    head = [text(16, 22, title, colour=INK, size=15, weight=600)]
    if len(ranked) > MAX_BARS:
        frame = (72.0, 40.0, width_px - 18.0, 254.0)
        body = _outline([count for _, count in ranked], frame)
        foot = labels(f"{name}, from the most to the least", x_label, frame)
        return drawing(width_px, 300, title, [*head, *body, *foot])
    longest_px = CHARACTER_PX * max((len(one) for one, _ in ranked), default=0)
    left = 28 + min(longest_px, 0.4 * width_px)
    frame = (left, 40.0, width_px - 74.0, 40.0 + _BAR_PX * max(len(ranked), 2))
    body = _bars(ranked, frame) if ranked else [nothing(frame)]
    return drawing(width_px, frame[3] + 46, title, [*head, *body, *labels(x_label, "", frame)])


def _bars(ranked: Sequence[tuple[str, int]], frame: Frame) -> list[str]:
    axis = Axis(low=0, high=max(ranked[0][1], 1), start_px=frame[0], end_px=frame[2])
    parts = x_grid(axis, frame)
    for row, (name, count) in enumerate(ranked):
        top, end = frame[1] + row * _BAR_PX, axis.place(count)
        middle = top + _BAR_PX / 2 + 4
        parts.append(
            f"<g><title>{escape(name)}: {count:,}</title>"
            f"{text(frame[0] - 12, middle, fitted(name, frame[0] - 28), anchor='end')}"
            f'<rect x="{frame[0]:.1f}" y="{top + 3:.1f}" width="{end - frame[0]:.1f}" '
            f'height="{_BAR_PX - 6}" fill="{COLOURS[0]}"/>'
            f"{text(end + 8, middle, f'{count:,}', size=12, has_halo=True)}</g>"
        )
    return parts


def _outline(ranked: Sequence[int], frame: Frame) -> list[str]:
    x_axis = Axis(low=0, high=len(ranked), start_px=frame[0], end_px=frame[2])
    y_axis = Axis(low=0, high=max(ranked[0], 1) * 1.05, start_px=frame[3], end_px=frame[1])
    # Counts come down in stairs; what cannot be seen of them is left out.
    stride = max(1, len(ranked) // _MAX_CORNERS)
    corners = [(frame[0], frame[3])]
    for rank in range(0, len(ranked), stride):
        y = y_axis.place(ranked[rank])
        end = min(rank + stride, len(ranked))
        corners += [(x_axis.place(rank), y), (x_axis.place(end), y)]
    corners.append((frame[2], frame[3]))
    area = (
        f'<polygon points="{path(corners)}" fill="{COLOURS[0]}" fill-opacity="0.35" '
        f'stroke="{COLOURS[0]}"/>'
    )
    return [*x_grid(x_axis, frame), *y_grid(y_axis, frame), area]

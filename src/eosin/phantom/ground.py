"""The part of the slide that one region draws on: two stains, and where the region is."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from eosin.phantom.layout import smooth_noise
from eosin.phantom.spec import LABEL_UM

_FIELD_UM = 0.5
"""Pixel of the fields below a texture; finer detail comes from objects and grain."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Views into the slide's stains around one region; amounts are 128 for one, 255 at most."""

    hematoxylin: UInt8[np.ndarray, "rows cols"]
    eosin: UInt8[np.ndarray, "rows cols"]
    inside: UInt8[np.ndarray, "rows cols"]
    """255 where the region is."""
    depth_um: Float32[np.ndarray, "label_rows label_cols"]
    """Distance to the region's border, by label pixel; 0 outside."""
    px_per_um: float

    @property
    def field_shape(self) -> tuple[int, int]:
        rows, cols = self.inside.shape
        per_px = 1 / (self.px_per_um * _FIELD_UM)
        return max(1, round(rows * per_px)), max(1, round(cols * per_px))

    def noise(self, rng: np.random.Generator, cell_um: float) -> Float32[np.ndarray, "fy fx"]:
        """Return smooth noise on the grid of fields."""
        return smooth_noise(rng, self.field_shape, cell_um / _FIELD_UM)

    def field_axes_um(self) -> tuple[Float32[np.ndarray, "fy 1"], Float32[np.ndarray, "1 fx"]]:
        """Return y and x of the grid of fields."""
        rows, cols = self.field_shape
        y = np.arange(rows, dtype=np.float32)[:, None] * np.float32(_FIELD_UM)
        x = np.arange(cols, dtype=np.float32)[None, :] * np.float32(_FIELD_UM)
        return y, x

    def look_up(
        self, field: Float32[np.ndarray, "fy fx"], points_um: Float[np.ndarray, "points 2"]
    ) -> Float32[np.ndarray, "points"]:
        """Return the field's values at points (x, y)."""
        cols, rows = (points_um / _FIELD_UM).astype(int).T
        values = field[rows.clip(0, field.shape[0] - 1), cols.clip(0, field.shape[1] - 1)]
        return np.asarray(values, dtype=np.float32)

    def contains(self, points_um: Float[np.ndarray, "points 2"]) -> Bool[np.ndarray, "points"]:
        """Say which points (x, y) lie in the region."""
        cols, rows = (points_um * self.px_per_um).astype(int).T
        height, width = self.inside.shape
        inside = self.inside[rows.clip(0, height - 1), cols.clip(0, width - 1)]
        return np.asarray(inside > 0, dtype=bool)

    def fill(
        self, hematoxylin: Float32[np.ndarray, "fy fx"], eosin: Float32[np.ndarray, "fy fx"]
    ) -> None:
        """Paint the region with two fields of amounts."""
        for field, target in ((hematoxylin, self.hematoxylin), (eosin, self.eosin)):
            coarse = np.clip(field * 128, 0, 255).astype(np.uint8)
            fine = cv2.resize(coarse, target.shape[::-1], interpolation=cv2.INTER_LINEAR)
            cv2.copyTo(fine, self.inside, target)

    def scatter_um(
        self, rng: np.random.Generator, *, spacing_um: float, jitter: float, margin_um: float
    ) -> Float[np.ndarray, "points 2"]:
        """Return points (x, y) of a jittered hexagonal grid, `margin_um` inside the region."""
        rows_px, cols_px = self.inside.shape
        row_step_um = spacing_um * np.sqrt(0.75)
        num_rows = int(rows_px / self.px_per_um / row_step_um) + 2
        num_cols = int(cols_px / self.px_per_um / spacing_um) + 2
        row, col = np.mgrid[:num_rows, :num_cols]
        x = (col + 0.5 * (row % 2) - rng.uniform()) * spacing_um
        y = (row - rng.uniform()) * row_step_um
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        points += rng.normal(0, jitter * spacing_um, points.shape)
        cols, rows = np.floor(points / LABEL_UM).astype(int).T
        rows_ok = (rows >= 0) & (rows < self.depth_um.shape[0])
        cols_ok = (cols >= 0) & (cols < self.depth_um.shape[1])
        points = points[rows_ok & cols_ok]
        cols, rows = np.floor(points / LABEL_UM).astype(int).T
        return np.asarray(points[self.depth_um[rows, cols] > margin_um], dtype=np.float64)

    def polygon(
        self, outline_um: Float[np.ndarray, "corners 2"], *, hematoxylin: float, eosin: float
    ) -> None:
        """Fill a polygon with one amount of each stain, antialiased."""
        corners = np.rint(outline_um * (self.px_per_um * 16)).astype(np.int32)
        for amount, target in ((hematoxylin, self.hematoxylin), (eosin, self.eosin)):
            value = float(np.clip(amount * 128, 0, 255))
            cv2.fillPoly(target, [corners], value, lineType=cv2.LINE_AA, shift=4)

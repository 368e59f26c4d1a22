"""A tissue mask in the frame of its slide: exact tissue shares, and places drawn without misses."""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Int

_MAX_JITTERS = 256


class Extent(NamedTuple):
    """Size of a window in level-0 pixels."""

    width_l0: float
    height_l0: float


@final
class TissueMask:
    """Which parts of a slide are tissue.

    A mask pixel covers `cell_width_l0` x `cell_height_l0` level-0 pixels (not the same along both
    axes when the thumbnail's size was rounded). Immutable but for a memo of where windows fit.
    """

    def __init__(
        self, mask: Bool[np.ndarray, "height width"], *, width_l0: int, height_l0: int
    ) -> None:
        self.mask = mask
        self.width_l0 = width_l0
        self.height_l0 = height_l0
        rows, columns = mask.shape
        self.cell_width_l0 = width_l0 / columns
        self.cell_height_l0 = height_l0 / rows
        self._integral = np.zeros((rows + 1, columns + 1), np.int32)
        self._integral[1:, 1:] = mask.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
        self._corners: dict[tuple[Extent, float], _Corners] = {}

    @property
    def tissue_fraction(self) -> float:
        """Share of the slide that is tissue."""
        return float(self.mask.mean())

    def fraction(self, x: float, y: float, extent: Extent) -> float:
        """Return the tissue share of a window whose top-left is at level-0 pixel (x, y).

        Exact: mask pixels that the window covers in part count in part. What lies outside the
        slide is no tissue.
        """
        left, right = x / self.cell_width_l0, (x + extent.width_l0) / self.cell_width_l0
        top, bottom = y / self.cell_height_l0, (y + extent.height_l0) / self.cell_height_l0
        covered = (
            self._area(bottom, right)
            - self._area(top, right)
            - self._area(bottom, left)
            + self._area(top, left)
        )
        # Sums of parts of cells are right to about 1e-12: without rounding, a window in the middle
        # of tissue could fail a threshold of 1.
        return round(float(covered / ((right - left) * (bottom - top))), 9)

    def draw_place(
        self, rng: np.random.Generator, extent: Extent, threshold: float
    ) -> tuple[int, int] | None:
        """Draw a top-left corner, uniformly among all whose window has enough tissue.

        A mask cell is drawn among those that hold such a corner (or might), a corner within it, and
        its window is checked exactly; so misses are few and bounded, and small tissue is found as
        readily as large.

        Args:
            rng: Where the draw comes from.
            extent: Size of the window, which lies inside the slide.
            threshold: Least share of tissue in it.

        Returns:
            Level-0 x and y, or None when there is no such place.
        """
        corners = self._corners_of(extent, threshold)
        if corners.num_cells == 0:
            return None
        max_x, max_y = self.width_l0 - extent.width_l0, self.height_l0 - extent.height_l0
        for _ in range(_MAX_JITTERS):
            row, column = corners.cell(int(rng.integers(corners.num_cells)))
            x = int((column + rng.random()) * self.cell_width_l0)
            y = int((row + rng.random()) * self.cell_height_l0)
            if x <= max_x and y <= max_y and self.fraction(x, y, extent) >= threshold:
                return x, y
        return None

    def _corners_of(self, extent: Extent, threshold: float) -> "_Corners":
        key = (extent, threshold)
        if key not in self._corners:
            self._corners[key] = _Corners(self._possible_corners(extent, threshold))
        return self._corners[key]

    def _possible_corners(
        self, extent: Extent, threshold: float
    ) -> Bool[np.ndarray, "height width"]:
        """Return the cells in which the top-left corner of a good window may lie."""
        rows, columns = self.mask.shape
        # All windows with a corner in the cell lie in the cells from it to one beyond the window,
        # so their tissue is at most what those hold.
        width = extent.width_l0 / self.cell_width_l0
        height = extent.height_l0 / self.cell_height_l0
        right = np.minimum(np.arange(columns) + int(np.ceil(width)) + 1, columns)
        bottom = np.minimum(np.arange(rows) + int(np.ceil(height)) + 1, rows)
        whole, left, top = self._integral, np.arange(columns), np.arange(rows)
        most = (
            whole[np.ix_(bottom, right)]
            - whole[np.ix_(top, right)]
            - whole[np.ix_(bottom, left)]
            + whole[np.ix_(top, left)]
        )
        fits_x = left * self.cell_width_l0 <= self.width_l0 - extent.width_l0
        fits_y = top * self.cell_height_l0 <= self.height_l0 - extent.height_l0
        least = threshold * width * height * (1 - 1e-9)
        possible = (most >= least) & fits_y[:, None] & fits_x[None, :]
        return np.asarray(possible, dtype=bool)

    def _area(self, row: float, column: float) -> float:
        """Return the mask area above and left of a fractional position, in cells."""
        row = min(max(row, 0.0), self.mask.shape[0])
        column = min(max(column, 0.0), self.mask.shape[1])
        r0, c0 = int(row), int(column)
        r1, c1 = min(r0 + 1, self.mask.shape[0]), min(c0 + 1, self.mask.shape[1])
        down, across = row - r0, column - c0
        upper = self._at(r0, c0) * (1 - across) + self._at(r0, c1) * across
        lower = self._at(r1, c0) * (1 - across) + self._at(r1, c1) * across
        return upper * (1 - down) + lower * down

    def _at(self, row: int, column: int) -> float:
        return float(self._integral[row, column])


@final
class _Corners:
    """Cells of a mask, countable: one bit a cell, where a list of them would take eight bytes."""

    def __init__(self, cells: Bool[np.ndarray, "height width"]) -> None:
        self._bits = np.packbits(cells, axis=1)
        self._up_to_row: Int[np.ndarray, " height"] = cells.sum(1).cumsum()
        self.num_cells = int(self._up_to_row[-1])

    def cell(self, number: int) -> tuple[int, int]:
        """Return row and column of a cell by its number in reading order."""
        row = int(np.searchsorted(self._up_to_row, number, side="right"))
        before = int(self._up_to_row[row - 1]) if row else 0
        return row, int(np.flatnonzero(np.unpackbits(self._bits[row]))[number - before])

"""A tissue mask in the frame of its slide: exact tissue shares, and places drawn without misses."""

import math
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Int

_MAX_MISSES = 256


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

    def fraction(self, x: int, y: int, extent: Extent) -> float:
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

        A corner is drawn among all in mask cells that hold such a corner (or might), and its window
        is checked exactly; so misses are few and bounded, and small tissue is found as readily as
        large.

        Args:
            rng: Where the draw comes from.
            extent: Size of the window, which lies inside the slide.
            threshold: Least share of tissue in it.

        Returns:
            Level-0 x and y, or None when there is no such place.
        """
        corners = self._corners_of(extent, threshold)
        if corners.num_places == 0:
            return None
        for _ in range(_MAX_MISSES):
            x, y = corners.place(int(rng.integers(corners.num_places)))
            if self.fraction(x, y, extent) >= threshold:
                return x, y
        return None

    def _corners_of(self, extent: Extent, threshold: float) -> "_Corners":
        key = (extent, threshold)
        if key not in self._corners:
            self._corners[key] = _Corners(
                self._possible_corners(extent, threshold),
                _cell_starts(self.mask.shape[0], self.cell_height_l0, self.height_l0, extent[1]),
                _cell_starts(self.mask.shape[1], self.cell_width_l0, self.width_l0, extent[0]),
            )
        return self._corners[key]

    def _possible_corners(
        self, extent: Extent, threshold: float
    ) -> Bool[np.ndarray, "height width"]:
        """Return the cells in which the top-left corner of a good window may lie."""
        # All windows with a corner in the cell lie in the cells from it to one beyond the window,
        # so their tissue is at most what those hold.
        width = extent.width_l0 / self.cell_width_l0
        height = extent.height_l0 / self.cell_height_l0
        below = _differences(self._integral, math.ceil(height) + 1)
        most = _differences(below.T, math.ceil(width) + 1).T
        least = threshold * width * height * (1 - 1e-9)
        return np.asarray(most >= least, dtype=bool)

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


def _differences(
    sums: Int[np.ndarray, "rows columns"], span: int
) -> Int[np.ndarray, "_rows columns"]:
    """Return, for each row but the last, the row `span` further (or the last) minus it."""
    span = min(span, len(sums) - 1)
    out = np.empty_like(sums[:-1])
    inner = len(sums) - span
    np.subtract(sums[span:], sums[:inner], out=out[:inner])
    np.subtract(sums[-1], sums[inner:-1], out=out[inner:])
    return out


def _cell_starts(
    num_cells: int, cell_l0: float, side_l0: int, window_l0: float
) -> Int[np.ndarray, " edges"]:
    """Return the first corner in each cell along an axis, and where the last cell's corners end.

    Corners are whole level-0 pixels from which the window still fits into the slide.
    """
    num_corners = max(0, int(side_l0 - window_l0) + 1)
    starts = np.ceil(np.arange(num_cells + 1) * cell_l0).astype(np.int64)
    return np.asarray(np.minimum(starts, num_corners))


@final
class _Corners:
    """The corners in some cells of a mask, countable: one bit a cell and a number a row."""

    def __init__(
        self,
        cells: Bool[np.ndarray, "height width"],
        row_starts: Int[np.ndarray, " _"],
        column_starts: Int[np.ndarray, " _"],
    ) -> None:
        self._bits = np.packbits(cells, axis=1)
        self._row_starts, self._column_starts = row_starts, column_starts
        self._widths = np.diff(column_starts)
        self._per_line = cells @ self._widths
        self._up_to_row = (self._per_line * np.diff(row_starts)).cumsum()
        self.num_places = int(self._up_to_row[-1])

    def place(self, number: int) -> tuple[int, int]:
        """Return level-0 x and y of a corner by its number, cells row by row."""
        row = int(np.searchsorted(self._up_to_row, number, side="right"))
        before = int(self._up_to_row[row - 1]) if row else 0
        line, within = divmod(number - before, int(self._per_line[row]))
        cells = np.unpackbits(self._bits[row], count=self._widths.size)
        up_to_column = (cells * self._widths).cumsum()
        column = int(np.searchsorted(up_to_column, within, side="right"))
        to_its_right = int(up_to_column[column]) - within
        x = int(self._column_starts[column + 1]) - to_its_right
        return x, int(self._row_starts[row]) + line

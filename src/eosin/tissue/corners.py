"""The corners from which a window may hold enough tissue, countable: runs of cells along rows."""

from typing import final

import numpy as np
from jaxtyping import Bool, Int


@final
class Corners:
    """The whole level-0 pixels in some cells of a mask, by number.

    Kept as runs of neighbouring cells in a row, of which smooth tissue has few.
    """

    def __init__(
        self,
        cells: Bool[np.ndarray, "height width"],
        row_starts: Int[np.ndarray, " row_edges"],
        column_starts: Int[np.ndarray, " column_edges"],
    ) -> None:
        rows, begins, ends = _runs(cells)
        self._x = column_starts[begins].astype(np.int32)
        self._y = row_starts[rows].astype(np.int32)
        self._widths = (column_starts[ends] - column_starts[begins]).astype(np.int32)
        heights = np.diff(row_starts)[rows]
        self._up_to = (self._widths.astype(np.int64) * heights).cumsum()
        self.num_places = int(self._up_to[-1]) if len(self._up_to) else 0

    @property
    def num_bytes(self) -> int:
        """Memory that the runs take."""
        return sum(part.nbytes for part in (self._x, self._y, self._widths, self._up_to))

    def place(self, number: int) -> tuple[int, int]:
        """Return level-0 x and y of a corner by its number, run by run."""
        run = int(self._up_to.searchsorted(number, side="right"))
        before = self._up_to.item(run - 1) if run else 0
        line, within = divmod(number - before, self._widths.item(run))
        return self._x.item(run) + within, self._y.item(run) + line


def corner_starts(
    num_cells: int, cell_l0: float, side_l0: int, window_l0: float
) -> Int[np.ndarray, " edges"]:
    """Return the first corner in each cell along an axis, and where the last cell's corners end.

    Corners are whole level-0 pixels from which the window still fits into the slide.
    """
    num_corners = max(0, int(side_l0 - window_l0) + 1)
    starts = np.ceil(np.arange(num_cells + 1) * cell_l0).astype(np.int64)
    return np.asarray(np.minimum(starts, num_corners))


def _runs(
    cells: Bool[np.ndarray, "height width"],
) -> tuple[Int[np.ndarray, " runs"], Int[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Return the row, first column and column after the last of every run of true cells."""
    height, width = cells.shape
    # A false cell before each row, so that no run goes on into the next one.
    fenced = np.zeros((height, width + 1), np.bool_)
    fenced[:, 1:] = cells
    flat = fenced.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    if len(changes) % 2:
        changes = np.append(changes, flat.size - 1)
    rows, begins = np.divmod(changes[::2], width + 1)
    return rows, begins, begins + (changes[1::2] - changes[::2])

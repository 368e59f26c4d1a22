"""Many places of one window at once: which cells of a grid have enough tissue."""

from collections.abc import Sequence
from typing import final, overload

import cv2
import numpy as np
from jaxtyping import Float, Int

from eosin.geometry import PatchCoordinate, SlideInfo, Window
from eosin.tissue.mask import TissueMask


@final
class Places(Sequence[PatchCoordinate]):
    """Top-left corners of one window on one slide, made into coordinates when they are asked for.

    A large slide has 100,000 cells: this takes 8 bytes for each of them, their coordinates 200.
    """

    def __init__(
        self,
        slide_info: SlideInfo,
        window: Window,
        x: Int[np.ndarray, " places"],
        y: Int[np.ndarray, " places"],
    ) -> None:
        self._info, self._window = slide_info, window
        self._x, self._y = x.astype(np.int32), y.astype(np.int32)

    def __len__(self) -> int:
        return len(self._x)

    @overload
    def __getitem__(self, number: int) -> PatchCoordinate: ...
    @overload
    def __getitem__(self, number: slice) -> "Places": ...
    def __getitem__(self, number: int | slice) -> "PatchCoordinate | Places":
        if isinstance(number, slice):
            return Places(self._info, self._window, self._x[number], self._y[number])
        return self._window.at(self._info, self._x.item(number), self._y.item(number))


def grid_places(
    slide_info: SlideInfo,
    tissue_mask: TissueMask,
    window: Window,
    *,
    step_l0: tuple[float, float],
    tissue_threshold: float,
) -> Places:
    """Return the cells of a grid from the slide's top-left corner that have enough tissue.

    In reading order. A rest at the right and lower edge that is smaller than the window is left
    out. The same cells as asking the mask for the tissue share of each, about 100 times as fast.

    Args:
        slide_info: The slide.
        tissue_mask: Where its tissue is.
        window: What a cell covers.
        step_l0: Level-0 pixels from one cell to the next, across and down; need not be whole.
        tissue_threshold: Least share of a cell that is tissue.
    """
    x = _corners(slide_info.width_l0, window.width_l0, step_l0[0])
    y = _corners(slide_info.height_l0, window.height_l0, step_l0[1])
    if not len(x) or not len(y):
        nothing = np.zeros(0, np.int32)
        return Places(slide_info, window, nothing, nothing)
    rows, columns = np.nonzero(_tissue_shares(tissue_mask, window, x, y) >= tissue_threshold)
    return Places(slide_info, window, x[columns], y[rows])


def _corners(side_l0: int, window_l0: float, step_l0: float) -> Int[np.ndarray, " corners"]:
    num = int((side_l0 - window_l0) // step_l0) + 1
    return (np.arange(max(0, num)) * step_l0).astype(np.int64)


def _tissue_shares(
    tissue_mask: TissueMask,
    window: Window,
    x: Int[np.ndarray, " columns"],
    y: Int[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows columns"]:
    """Return what `TissueMask.fraction` says of the windows at all x and y."""
    sums = cv2.integral(tissue_mask.mask.view(np.uint8))
    top, left = y / tissue_mask.cell_height_l0, x / tissue_mask.cell_width_l0
    bottom = (y + window.height_l0) / tissue_mask.cell_height_l0
    right = (x + window.width_l0) / tissue_mask.cell_width_l0
    # The integral image is linear between its grid points along each axis.
    between_rows = _interpolated(sums, bottom) - _interpolated(sums, top)
    covered = _interpolated(between_rows.T, right) - _interpolated(between_rows.T, left)
    areas = (bottom - top)[None, :] * (right - left)[:, None]
    # Rounded as the mask does, so that a window in the middle of tissue passes a threshold of 1.
    return np.asarray(np.round(covered / areas, 9).T)


def _interpolated(
    values: Float[np.ndarray, "points others"] | Int[np.ndarray, "points others"],
    at: Float[np.ndarray, " positions"],
) -> Float[np.ndarray, "positions others"]:
    """Return rows of an array at fractional positions."""
    last = len(values) - 1
    at = np.clip(at, 0, last)
    before = at.astype(np.int64)
    share = (at - before)[:, None]
    after = np.minimum(before + 1, last)
    return np.asarray(values[before] * (1 - share) + values[after] * share)

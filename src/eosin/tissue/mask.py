"""A tissue mask in the frame of its slide: exact tissue shares, and places drawn without misses."""

import math
from typing import NamedTuple, final

import cv2
import numpy as np
from jaxtyping import Bool

from eosin.tissue.corners import Corners, corner_starts
from eosin.tissue.sums import MaskSums

_MAX_MISSES = 256

_MAX_MISSES_OF_A_SIZE = 64
"""Misses among the corners of a standard size, after which those of the very window are found."""

_SIZE_STEP = 2**0.25
"""Ratio of neighbouring standard sizes."""

_MAX_KEPT = 32
"""Sizes of windows whose corners are remembered."""


class Extent(NamedTuple):
    """Size of a window in level-0 pixels."""

    width_l0: float
    height_l0: float


_Bounds = tuple[Extent, Extent, float]


@final
class TissueMask:
    """Which parts of a slide are tissue.

    A mask pixel covers `cell_width_l0` x `cell_height_l0` level-0 pixels (not the same along both
    axes when the thumbnail's size was rounded). Immutable but for a memo of where windows fit.
    Takes 0.7 bytes a mask pixel (5 MB for a slide of 100,000 x 80,000 pixels at 0.25 um, 12 MB at
    most), and about a tenth of that for each size of window that is drawn.
    """

    def __init__(
        self, mask: Bool[np.ndarray, "height width"], *, width_l0: int, height_l0: int
    ) -> None:
        self.width_l0 = width_l0
        self.height_l0 = height_l0
        rows, columns = mask.shape
        self.cell_width_l0: float = width_l0 / columns
        self.cell_height_l0: float = height_l0 / rows
        self._sums = MaskSums(mask)
        self._corners: dict[_Bounds, Corners] = {}

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        """The mask as booleans; unpacked at each use, so keep it rather than ask twice."""
        return self._sums.mask()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the mask in its own pixels."""
        return self._sums.shape

    @property
    def is_empty(self) -> bool:
        """Whether there is no tissue at all."""
        return self._sums.total == 0

    @property
    def tissue_fraction(self) -> float:
        """Share of the slide that is tissue."""
        return self._sums.total / (self.shape[0] * self.shape[1])

    @property
    def num_bytes(self) -> int:
        """Memory that the mask takes now, with what it remembers."""
        return self._sums.num_bytes + sum(c.num_bytes for c in list(self._corners.values()))

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
        return round(covered / ((right - left) * (bottom - top)), 9)

    def draw_place(
        self,
        rng: np.random.Generator,
        extent: Extent,
        threshold: float,
        *,
        sizes_vary: bool = False,
    ) -> tuple[int, int] | None:
        """Draw a top-left corner, uniformly among all whose window has enough tissue.

        A corner is drawn among all in mask cells that hold such a corner (or might), and its window
        is checked exactly; so misses are few and bounded, and small tissue is found as readily as
        large. Finding these cells takes tens of milliseconds on a large mask, once for each size.

        Args:
            rng: Where the draw comes from.
            extent: Size of the window, which lies inside the slide.
            threshold: Least share of tissue in it.
            sizes_vary: Whether windows have many sizes. Then the cells are those of the next
                standard sizes: some more misses instead of a search for each window.

        Returns:
            Level-0 x and y, or None when there is no such place.
        """
        if sizes_vary:
            bounds = _standard(extent.width_l0), _standard(extent.height_l0)
            smallest, largest = (Extent(*sizes) for sizes in zip(*bounds, strict=True))
            corners = self._corners_of((smallest, largest, threshold))
            if corners.num_places == 0:
                return None
            place = self._try(rng, corners, extent, threshold, _MAX_MISSES_OF_A_SIZE)
            if place is not None:
                return place
        corners = self._corners_of((extent, extent, threshold))
        return self._try(rng, corners, extent, threshold, _MAX_MISSES)

    def _try(
        self,
        rng: np.random.Generator,
        corners: Corners,
        extent: Extent,
        threshold: float,
        max_misses: int,
    ) -> tuple[int, int] | None:
        if corners.num_places == 0:
            return None
        most_x, most_y = self.width_l0 - extent.width_l0, self.height_l0 - extent.height_l0
        for _ in range(max_misses):
            x, y = corners.place(int(rng.integers(corners.num_places)))
            if x <= most_x and y <= most_y and self.fraction(x, y, extent) >= threshold:
                return x, y
        return None

    def _corners_of(self, bounds: _Bounds) -> Corners:
        corners = self._corners.get(bounds)
        if corners is None:
            smallest = bounds[0]
            rows, columns = self.shape
            corners = Corners(
                self._possible_corners(*bounds),
                corner_starts(rows, self.cell_height_l0, self.height_l0, smallest.height_l0),
                corner_starts(columns, self.cell_width_l0, self.width_l0, smallest.width_l0),
            )
            while len(self._corners) >= _MAX_KEPT:
                # Another thread may have been faster.
                self._corners.pop(next(iter(list(self._corners)), bounds), None)
            self._corners[bounds] = corners
        return corners

    def _possible_corners(
        self, smallest: Extent, largest: Extent, threshold: float
    ) -> Bool[np.ndarray, "height width"]:
        """Return the cells in which the top-left corner of a good window may lie."""
        # All windows with a corner in the cell lie in the cells from it to one beyond the window,
        # so their tissue is at most what those hold.
        rows, columns = self.shape
        span = (
            min(columns, math.ceil(largest.width_l0 / self.cell_width_l0) + 1),
            min(rows, math.ceil(largest.height_l0 / self.cell_height_l0) + 1),
        )
        most = cv2.boxFilter(
            self.mask.view(np.uint8),
            cv2.CV_32S,
            span,
            anchor=(0, 0),
            normalize=False,
            borderType=cv2.BORDER_CONSTANT,
        )
        area = smallest.width_l0 / self.cell_width_l0 * smallest.height_l0 / self.cell_height_l0
        return np.asarray(most >= math.ceil(threshold * area * (1 - 1e-9)), dtype=bool)

    def _area(self, row: float, column: float) -> float:
        """Return the mask area above and left of a fractional position, in cells."""
        rows, columns = self._sums.shape
        row, column = min(max(row, 0.0), float(rows)), min(max(column, 0.0), float(columns))
        r0, c0 = int(row), int(column)
        r1, c1 = min(r0 + 1, rows), min(c0 + 1, columns)
        down, across = row - r0, column - c0
        at = self._sums.at
        upper = at(r0, c0) * (1 - across) + at(r0, c1) * across
        lower = at(r1, c0) * (1 - across) + at(r1, c1) * across
        return upper * (1 - down) + lower * down


def _standard(size: float) -> tuple[float, float]:
    """Return the standard sizes just below and above."""
    step = math.floor(math.log(size, _SIZE_STEP))
    return min(size, _SIZE_STEP**step), max(size, _SIZE_STEP ** (step + 1))

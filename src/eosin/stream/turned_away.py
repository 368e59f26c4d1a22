"""Cells of a grid that gave nothing, one after another, and when that is the end of the stream."""

from typing import final

from eosin.stream.grid import GridOrder
from eosin.stream.result import Rejection
from eosin.stream.search import Fruitless
from eosin.stream.stats import StreamStats

_MAX_FAULTS = 128
"""Cells of a grid in a row from the first that may break in a component."""


@final
class TurnedAway:
    """What was turned away since the last sample; all of it is counted."""

    def __init__(self, grid: GridOrder | None, stats: StreamStats) -> None:
        """Take the grid; a stream without one tries other slides for a sample, so it ends."""
        self._grid = grid
        self._stats = stats
        self._num_faults = 0
        self.rejections: list[Rejection] = []

    def clear(self) -> None:
        """Begin anew, as there is a sample."""
        self._num_faults = 0
        self.rejections.clear()

    def ends_with(self, result: Fruitless) -> bool:
        """Add one, and return whether no sample is to be hoped for."""
        self._stats.count_rejections(result.rejections)
        self.rejections.extend(result.rejections)
        self._num_faults += result.error is not None
        num = len(self.rejections)
        is_broken = self._num_faults == num >= _MAX_FAULTS
        return self._grid is None or is_broken or not self._grid.first_pass_has(num)

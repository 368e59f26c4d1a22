"""Streams that end: every cell of a grid on every slide, once per pass."""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import final

from eosin.errors import SlideError
from eosin.geometry import PatchCoordinate
from eosin.sampling.grid import GridSampler
from eosin.stream.draw import PatchRecipe, Refusal, slide_rejection
from eosin.stream.order import LaneOrder
from eosin.stream.result import PatchResult, Rejection
from eosin.stream.search import Fruitless
from eosin.stream.slides import SlideStore

_MAX_LISTED_SLIDES = 2


@final
class GridOrder:
    """Sample i is the i-th cell, slide after slide; counts come from the masks as they are needed.

    A slide that cannot be used has no cells.
    """

    def __init__(
        self,
        store: SlideStore,
        sampler: GridSampler,
        order: LaneOrder,
        on_rejections: Callable[[Iterable[Rejection]], None],
    ) -> None:
        self._store = store
        self._sampler = sampler
        self._order = order
        self._on_rejections = on_rejections
        self._lock = threading.Lock()
        self._ends: list[int] = []
        """Number of samples up to and including each slide of the first pass."""
        self._cells: OrderedDict[int, list[PatchCoordinate]] = OrderedDict()
        """Of the slides used last: listing them takes longer than reading one."""

    def has(self, index: int) -> bool:
        """Return whether the stream has a sample with this number."""
        return self.first_pass_has(index) or (self._order.cycle and self._ends[-1] > 0)

    def first_pass_has(self, index: int) -> bool:
        """Return whether there are more than `index` cells on all slides together."""
        with self._lock:
            return self._count_up_to(index)

    def draw(self, index: int, recipe: PatchRecipe) -> PatchResult | Fruitless:
        """Return sample `index`, or why its cell is turned away."""
        try:
            with self._lock:
                slide, cell = self._locate(index)
                coordinate = self._places(slide)[cell]
            ready = self._store.get(slide)
        except SlideError as error:
            return Fruitless((slide_rejection(error),))
        image = recipe.read(self._store, ready, coordinate)
        if isinstance(image, Refusal):
            return Fruitless((image.rejection,), image.error)
        result = recipe.finish(index, image, ready, coordinate, self._store.entries[slide], ())
        if isinstance(result, Refusal):
            return Fruitless((result.rejection,), result.error)
        return result

    def _locate(self, index: int) -> tuple[int, int]:
        if not self._count_up_to(index):
            index %= self._ends[-1]
        position = bisect_right(self._ends, index)
        begin = self._ends[position - 1] if position else 0
        return self._order.slide_of_slot(position), index - begin

    def _count_up_to(self, index: int) -> bool:
        """Count slides until one holds the sample; return whether the first pass does."""
        while not self._ends or self._ends[-1] <= index:
            if len(self._ends) == self._order.num_slides:
                return False
            num_before = self._ends[-1] if self._ends else 0
            slide = self._order.slide_of_slot(len(self._ends))
            try:
                num_cells = len(self._places(slide))
            except SlideError as error:
                self._store.quarantine(slide, error)
                self._on_rejections([slide_rejection(error)])
                num_cells = 0
            else:
                if num_cells == 0:
                    self._on_rejections([self._no_cell(slide)])
            self._ends.append(num_before + num_cells)
        return True

    def _no_cell(self, slide: int) -> Rejection:
        detail = f"no cell of the grid has {self._sampler.tissue_threshold:.0%} tissue"
        return Rejection(
            slide_path=self._store.entries[slide].path, cause="no place", detail=detail
        )

    def _places(self, slide: int) -> list[PatchCoordinate]:
        if slide not in self._cells:
            ready = self._store.get(slide)
            self._cells[slide] = self._sampler.places(ready.slide.info, ready.tissue)
            while len(self._cells) > _MAX_LISTED_SLIDES:
                self._cells.popitem(last=False)
        return self._cells[slide]

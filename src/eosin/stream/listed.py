"""Which list of slides a sample is drawn from, when slides were added in the middle of a run.

A new list begins in each lane with the lane's next window, so what is open is used up first, and
samples before stay what they were.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float

from eosin.catalog import SlideEntry, list_slides
from eosin.errors import ConfigError
from eosin.stream.order import LaneOrder, Turn


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SlideList:
    """The slides from some sample on."""

    from_index: int
    """Windows that begin at this sample or later are of this list."""
    numbers: tuple[int, ...]
    """Of the slides in the store, in the order of the list."""
    weights: Float[np.ndarray, " slides"] | None = None
    """How often each is drawn, relative to the others."""


@final
class ListedOrder:
    """The slides of every sample by their numbers in the store, whichever list it is from."""

    def __init__(self, order: LaneOrder, lists: tuple[SlideList, ...]) -> None:
        self.lists = lists
        self._orders = [
            replace(order, num_slides=len(one.numbers), weights=one.weights) for one in lists
        ]
        self._first_visits = self._number_visits()

    @property
    def newest(self) -> LaneOrder:
        """The order over the last list."""
        return self._orders[-1]

    def turn_of(self, index: int) -> Turn:
        """Return which visit a sample belongs to, and which of its samples it is."""
        # The same for every list: it does not depend on the slides, unless the stream ends.
        return self.newest.turn_of(index)

    def visit_of(self, index: int) -> int | None:
        """Return how often each slide had its visit before; None where they are drawn by weight.

        A list that takes over counts on, so that no two visits to a slide have one number.
        """
        place = self._place(index)
        order = self._orders[place]
        if order.weights is not None:
            return None
        return self._first_visits[place] + order.slot_of(index) // order.num_slides

    def _number_visits(self) -> list[int]:
        """Return what each list's passes are counted from."""
        firsts: list[int] = []
        num_visits = 0
        for place, order in enumerate(self._orders):
            begin, _ = order.slots_around(self.lists[place].from_index)
            firsts.append(num_visits - begin // order.num_slides if place else 0)
            if order.weights is None and place + 1 < len(self._orders):
                _, end = order.slots_around(self.lists[place + 1].from_index)
                num_visits = max(num_visits, firsts[-1] - (-end // order.num_slides))
        return firsts

    def pool_of(self, index: int) -> Iterator[int]:
        """Yield the slides of a sample's window, its own first."""
        place = self._place(index)
        numbers = self.lists[place].numbers
        return (numbers[slide] for slide in self._orders[place].pool_of(index))

    def slides_of(self, index: int) -> Iterator[int]:
        """Yield the slides to try for a sample: its own, then substitutes, every slide at last."""
        place = self._place(index)
        numbers = self.lists[place].numbers
        return (numbers[slide] for slide in self._orders[place].slides_of(index))

    def _place(self, index: int) -> int:
        begin = self.newest.window_start(index) if len(self.lists) > 1 else 0
        later = range(len(self.lists) - 1, 0, -1)
        return next((place for place in later if begin >= self.lists[place].from_index), 0)


def entries_of(
    slides: str | Path | Sequence[str | Path] | tuple[SlideEntry, ...], where: str | None
) -> tuple[SlideEntry, ...]:
    """Return the slides that are named, or those that were listed before.

    Raises:
        InputError: If something is not there, or no slide is left.
        ConfigError: If the condition cannot be understood, or comes too late.
    """
    if isinstance(slides, str | Path):
        return list_slides(slides, where)
    listed = tuple(one for one in slides if isinstance(one, SlideEntry))
    if not listed:
        return list_slides([one for one in slides if not isinstance(one, SlideEntry)], where)
    if where is not None or len(listed) < len(slides):
        raise ConfigError(
            "slides that are listed already take no `where` and no paths beside them; give all of "
            "them to list_slides first"
        )
    return listed

"""Which slide gives sample i: lanes, windows and passes, all by arithmetic.

    sample i ── lane i % num_lanes ── window of pool_size slots ── slot ── pass and slide

A slot is one visit to a slide. Slots number the slides of pass 0, then of pass 1, and so on; lane l
owns slots l, l + num_lanes, ... A window's slots take turns, `patches_per_visit` samples at a time,
until each has given `patches_per_slide`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal, final

import numpy as np
from jaxtyping import Int

from eosin.errors import ConfigError
from eosin.randomness import Purpose, rng_at

SlideSampling = Literal["sequential", "random"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LaneOrder:
    """The slide of every sample, as a pure function of these numbers."""

    num_slides: int
    seed: int = 0
    slide_sampling: SlideSampling = "sequential"
    """The order of each pass: as listed, or permuted anew."""
    cycle: bool = False
    """Whether passes follow each other without end."""
    num_lanes: int = 1
    pool_size: int = 8
    """Slides that take turns in one window of a lane."""
    patches_per_slide: int = 100
    """Samples of one visit to a slide."""
    patches_per_visit: int = 1
    """Samples in a row from one slide before the next has its turn."""

    def __post_init__(self) -> None:
        for name in ("num_lanes", "pool_size", "patches_per_slide", "patches_per_visit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if self.slide_sampling not in ("sequential", "random"):
            raise ConfigError(
                f"slide_sampling={self.slide_sampling!r} must be 'sequential' or 'random'"
            )
        if self.num_lanes > 1 and not self.cycle:
            raise ConfigError(
                f"num_lanes={self.num_lanes} needs cycle=True; a stream that ends has one lane"
            )

    @property
    def num_samples(self) -> int | None:
        """Samples until the stream ends; None when it never does."""
        return None if self.cycle else self.num_slides * self.patches_per_slide

    def slot_of(self, index: int) -> int:
        """Return the slot that sample `index` belongs to."""
        position, lane = divmod(index, self.num_lanes)
        # Lanes begin at different places of their first window, so that they do not all turn from
        # one window to the next at the same time.
        position += lane * self.pool_size * self.patches_per_slide // self.num_lanes
        window, within = divmod(position, self.pool_size * self.patches_per_slide)
        return (window * self.pool_size + self._turn(window, within)) * self.num_lanes + lane

    def _turn(self, window: int, within: int) -> int:
        """Return whose turn it is among a window's slots at its sample `within`."""
        num_slots = self.pool_size
        if not self.cycle:
            num_slots = min(num_slots, self.num_slides - window * self.pool_size)
        visit = min(self.patches_per_visit, self.patches_per_slide)
        in_full_rounds = self.patches_per_slide // visit * visit * num_slots
        if within >= in_full_rounds:
            within -= in_full_rounds
            visit = self.patches_per_slide % visit
        return within // visit % num_slots

    def slide_of_slot(self, slot: int) -> int:
        """Return the number of the slide that a slot visits."""
        number, position = divmod(slot, self.num_slides)
        if self.slide_sampling == "sequential":
            return position
        return int(_permutation(self.seed, number, self.num_slides)[position])

    def slides_of(self, index: int) -> Iterator[int]:
        """Yield the slides to try for a sample: its own, then substitutes, every slide at last.

        First the next slots of its lane, which are warm or will be, then a whole pass. Lazily: with
        ten thousand slides the list would cost more than the patch, and the first nearly always
        does.
        """
        slot = self.slot_of(index)
        lane_next = (slot + step * self.num_lanes for step in range(self.pool_size))
        next_pass = (slot // self.num_slides + 1) * self.num_slides
        all_slides = range(next_pass, next_pass + self.num_slides)
        tried: set[int] = set()
        for candidate in chain(lane_next, all_slides):
            slide = self.slide_of_slot(candidate)
            if slide not in tried:
                tried.add(slide)
                yield slide


@lru_cache(maxsize=16)
def _permutation(seed: int, pass_number: int, num_slides: int) -> Int[np.ndarray, " slides"]:
    return rng_at(seed, Purpose.SLIDE_ORDER, pass_number).permutation(num_slides)

"""Which slide gives sample i: lanes, windows and passes, all by arithmetic.

    sample i ── lane i % num_lanes ── window of pool_size slots ── slot ── pass and slide

A slot is one visit to a slide. Slots number the slides of pass 0, then of pass 1, and so on; lane l
owns slots l, l + num_lanes, ... A window's slots take turns, `patches_per_visit` samples at a time,
until each has given `patches_per_slide`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int

from eosin.errors import ConfigError
from eosin.randomness import Purpose, rng_at

SlideSampling = Literal["sequential", "random"]

_DRAWN, _SUBSTITUTES = 1, 2
"""Parts of the randomness of a slot; part 0 is that of a pass."""


class Turn(NamedTuple):
    """A sample's part in the visit that it belongs to."""

    slot: int
    """Number of the visit, over all lanes and passes."""
    number: int
    """Number of the sample within the visit."""


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
    weights: Float[np.ndarray, " slides"] | None = field(default=None, compare=False)
    """How often each slide is drawn for a slot, relative to the others; None for passes in which
    every slide has its slot."""
    _cumulative: Float[np.ndarray, " slides"] = field(init=False, repr=False, compare=False)

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
        if self.weights is not None:
            self._check_weights(self.weights)
        total = np.cumsum([] if self.weights is None else self.weights, dtype=np.float64)
        object.__setattr__(self, "_cumulative", total)

    def _check_weights(self, weights: Float[np.ndarray, " slides"]) -> None:
        if not self.cycle or self.slide_sampling != "random":
            raise ConfigError(
                f"weights need cycle=True and slide_sampling='random' (they are {self.cycle} and "
                f"{self.slide_sampling!r}), since a pass over all slides leaves none out"
            )
        if len(weights) != self.num_slides or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ConfigError(f"weights must be {self.num_slides} numbers from 0 up, one a slide")
        if not weights.any():
            raise ConfigError("weights are all 0; at least one slide must be drawn")

    @property
    def num_samples(self) -> int | None:
        """Samples until the stream ends; None when it never does."""
        return None if self.cycle else self.num_slides * self.patches_per_slide

    def turn_of(self, index: int) -> Turn:
        """Return which visit sample `index` belongs to, and which of its samples it is."""
        lane, window, within = self._window_of(index)
        num_slots = self._num_slots(window)
        visit = min(self.patches_per_visit, self.patches_per_slide)
        full_rounds = self.patches_per_slide // visit
        before = 0
        if within >= full_rounds * visit * num_slots:
            # The last round is shorter when visits do not divide the samples of a slide.
            within -= full_rounds * visit * num_slots
            before = full_rounds * visit
            visit = self.patches_per_slide % visit
        rounds, in_round = divmod(within, visit * num_slots)
        position, number = divmod(in_round, visit)
        slot = (window * self.pool_size + position) * self.num_lanes + lane
        return Turn(slot, before + rounds * visit + number)

    def slot_of(self, index: int) -> int:
        """Return the slot that sample `index` belongs to."""
        return self.turn_of(index).slot

    def window_start(self, index: int) -> int:
        """Return the number of the first sample of a sample's window; negative if it is cut off."""
        lane, window, _ = self._window_of(index)
        size = self.pool_size * self.patches_per_slide
        return (window * size - self._head_start(lane)) * self.num_lanes + lane

    def slots_around(self, index: int) -> tuple[int, int]:
        """Return bounds of the slots of windows that begin before or after a sample.

        Windows that begin before it have slots below the second number only, later ones from the
        first on; between the two are both, where lanes are ahead of others.
        """
        span = self.pool_size * self.patches_per_slide * self.num_lanes
        heads = [self._head_start(lane) * self.num_lanes - lane for lane in range(self.num_lanes)]
        windows_before = [-(-(index + head) // span) for head in heads]
        of_window = self.pool_size * self.num_lanes
        return min(windows_before) * of_window, max(windows_before) * of_window

    def _window_of(self, index: int) -> tuple[int, int, int]:
        """Return lane and window of a sample, and its place in the window."""
        position, lane = divmod(index, self.num_lanes)
        position += self._head_start(lane)
        return lane, *divmod(position, self.pool_size * self.patches_per_slide)

    def _head_start(self, lane: int) -> int:
        # Lanes begin at different places of their first window, so that they do not all turn from
        # one window to the next at the same time.
        return lane * self.pool_size * self.patches_per_slide // self.num_lanes

    def _num_slots(self, window: int) -> int:
        if self.cycle:
            return self.pool_size
        return min(self.pool_size, self.num_slides - window * self.pool_size)

    def slide_of_slot(self, slot: int) -> int:
        """Return the number of the slide that a slot visits."""
        if self.weights is not None:
            return self._drawn_by_weight(slot)
        number, position = divmod(slot, self.num_slides)
        if self.slide_sampling == "sequential":
            return position
        return int(_permutation(self.seed, number, self.num_slides)[position])

    def pool_of(self, index: int) -> Iterator[int]:
        """Yield the slides of a sample's window, its own first: they are open, or will be soon."""
        lane, window, _ = self._window_of(index)
        num_slots = self._num_slots(window)
        own = self.slot_of(index) // self.num_lanes % self.pool_size
        tried: set[int] = set()
        for step in range(num_slots):
            position = window * self.pool_size + (own + step) % num_slots
            slide = self.slide_of_slot(position * self.num_lanes + lane)
            if slide not in tried:
                tried.add(slide)
                yield slide

    def slides_of(self, index: int) -> Iterator[int]:
        """Yield the slides to try for a sample: its own, then substitutes, every slide at last.

        First its window's, then a whole pass. Lazily: with ten thousand slides the list would cost
        more than the patch, and the first nearly always does. A slide of weight 0 is not tried.
        """
        tried: set[int] = set()
        for slide in self.pool_of(index):
            tried.add(slide)
            yield slide
        for slide in self._all_from(self.slot_of(index)):
            if slide not in tried:
                yield slide

    def _all_from(self, slot: int) -> Iterator[int]:
        if self.weights is not None:
            order = rng_at(self.seed, Purpose.SLIDE_ORDER, slot, _SUBSTITUTES)
            shuffled = order.permutation(self.num_slides)
            yield from (int(slide) for slide in shuffled if self.weights[slide] > 0)
            return
        next_pass = (slot // self.num_slides + 1) * self.num_slides
        for later in range(next_pass, next_pass + self.num_slides):
            yield self.slide_of_slot(later)

    def _drawn_by_weight(self, slot: int) -> int:
        share = rng_at(self.seed, Purpose.SLIDE_ORDER, slot, _DRAWN).random()
        drawn = np.searchsorted(self._cumulative, share * self._cumulative[-1], side="right")
        # A product that rounds up to the sum belongs to the last slide that has a weight.
        last = np.searchsorted(self._cumulative, self._cumulative[-1])
        return int(min(drawn, last))


@lru_cache(maxsize=16)
def _permutation(seed: int, pass_number: int, num_slides: int) -> Int[np.ndarray, " slides"]:
    return rng_at(seed, Purpose.SLIDE_ORDER, pass_number).permutation(num_slides)

"""One sample from its number: choose, read, judge, and go on to the next place or slide.

slides of i ─magnification→ mpp ─place→ coordinate ─read→ rgb ─accept→ views
                   └ once       └───── again after a rejection ─────┘

Nothing here looks at what other samples did, so a sample is the same whenever it is drawn.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

from eosin.errors import NoPlaceError, SlideError
from eosin.geometry import PatchCoordinate
from eosin.randomness import Purpose, rng_at
from eosin.sampling.base import PatchSampler
from eosin.stream.cells import Deal
from eosin.stream.draw import (
    STOPPING,
    UNREADABLE,
    PatchRecipe,
    Refusal,
    refusal_of,
    slide_rejection,
)
from eosin.stream.listed import ListedOrder
from eosin.stream.ready import ReadySlide
from eosin.stream.result import PatchResult, Rejection
from eosin.stream.slides import SlideStore

Replacement = Literal["with_replacement", "without_replacement"]

_MAX_FRUITLESS_SLIDES = 64
"""Slides whose candidates may all be turned away before a sample counts as impossible."""

_MAX_FAULTS = 128
"""Candidates in a row from the first that may fail by an error that is no slide's: it is a fault
in a component, which shows on every slide."""

_SPARE_CELLS = 8
"""Cells dealt to a sample where a filter turns some away."""

_MAX_MAGNIFICATIONS = 64
"""Draws of a magnification, for samples whose first ones have no place on any slide at hand."""


class Fruitless(NamedTuple):
    """What was tried for a sample that no slide gives."""

    rejections: tuple[Rejection, ...]
    error: Exception | None = None
    """The last one that was no slide's fault."""

    @property
    def num_bytes(self) -> int:
        """Bytes of its pixels: none."""
        return 0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSource:
    """Draws any sample by its number."""

    order: ListedOrder
    store: SlideStore
    sampler: PatchSampler
    recipe: PatchRecipe
    max_candidates: int
    """Places to try on one slide."""
    replacement: Replacement = "with_replacement"

    def draw(self, index: int) -> PatchResult | Fruitless:
        """Return sample `index`, or what was tried when no slide gives it."""
        return _Search(self, index).run()


@final
class _Search:
    """The search for one sample, and what was tried so far."""

    def __init__(self, source: SampleSource, index: int) -> None:
        self._source = source
        self._index = index
        self._own = -1
        """The slide of the sample's own turn."""
        self._rejections: list[Rejection] = []
        self._error: Exception | None = None
        self._num_faults = 0
        self._num_spent = 0
        """Candidates turned away; one for a slide that gave none, all for an unreadable level."""
        self._num_tries = 0
        self._unusable: set[int] = set()
        self._placeless: set[tuple[int, float]] = set()
        """Slides and magnifications that have no place together."""
        self._has_place = False
        self._is_used_up = False
        """Whether its share of its own slide's cells was not enough."""
        self._deals_anew = False

    def run(self) -> PatchResult | Fruitless:
        for number, draw in self._tries():
            result = self._try_slide(number, draw)
            if result is not None:
                return result
            if self._is_hopeless():
                break
        return Fruitless(tuple(self._rejections), self._error)

    def _tries(self) -> Iterator[tuple[int, int]]:
        """Yield slides to try, each with which draw of the magnification.

        The slides at hand first. A magnification that none of them has a place for is left to the
        others: it is drawn again. What was turned away by its looks is no reason to draw again, or
        the filter would bias the mix.
        """
        order = self._source.order
        for draw in range(_MAX_MAGNIFICATIONS):
            for number in order.pool_of(self._index):
                if self._own < 0:
                    self._own = number
                yield number, draw
            if self._has_place or not self._placeless:
                break
        for number in order.slides_of(self._index):
            for draw in range(1 if self._has_place else _MAX_MAGNIFICATIONS):
                yield number, draw
        if self._is_used_up:
            # Nobody else gives it, so its own slide is dealt anew.
            self._deals_anew = True
            self._placeless.clear()
            yield self._own, 0

    def _is_hopeless(self) -> bool:
        num = len(self._rejections)
        if num >= _MAX_FAULTS and num == self._num_faults:
            return True
        return self._num_spent >= _MAX_FRUITLESS_SLIDES * self._source.max_candidates

    def _try_slide(self, number: int, draw: int) -> PatchResult | None:
        if number in self._unusable:
            return None
        try:
            ready = self._source.store.get(number)
            mpp = self._magnification(ready, draw)
        except SlideError as error:
            self._unusable.add(number)
            self._refuse(Refusal(slide_rejection(error)))
            return None
        if mpp is None or (number, mpp) in self._placeless:
            return None
        first_attempt = self._num_tries * self._source.max_candidates
        # Attempts go on counting over substitutes, so that no two share a generator.
        self._num_tries += 1
        # Not tried twice at one magnification, whatever comes of it.
        self._placeless.add((number, mpp))
        try:
            return self._try_places(ready, mpp, first_attempt)
        except SlideError as error:
            self._refuse(Refusal(slide_rejection(error)))
            return None

    def _try_places(self, ready: ReadySlide, mpp: float, first_attempt: int) -> PatchResult | None:
        source = self._source
        for candidate in range(source.max_candidates):
            try:
                coordinate = self._place(ready, mpp, candidate, first_attempt + candidate)
            except (SlideError, *STOPPING):
                raise
            except Exception as error:  # noqa: BLE001
                self._refuse(refusal_of(error, "sampler failed", ready.slide.info.path))
                continue
            if coordinate is None:
                return None
            self._has_place = True
            result = self._judge(ready, coordinate)
            if isinstance(result, PatchResult):
                return result
            self._refuse(result)
            is_unreadable = result.rejection.cause == UNREADABLE
            if is_unreadable and source.store.is_dead(ready, coordinate.level):
                self._num_spent += source.max_candidates - 1
                return None
        return None

    def _judge(self, ready: ReadySlide, coordinate: PatchCoordinate) -> PatchResult | Refusal:
        source = self._source
        image = source.recipe.read(source.store, ready, coordinate)
        if isinstance(image, Refusal):
            return image
        entry = source.store.entries[ready.number]
        return source.recipe.finish(self._index, image, ready, coordinate, entry, self._rejections)

    def _magnification(self, ready: ReadySlide, draw: int) -> float | None:
        """Draw the magnification: the same one after a rejection and on a substitute."""
        source = self._source
        rng = rng_at(source.recipe.seed, Purpose.MAGNIFICATION, self._index, draw)
        try:
            return source.sampler.magnification(rng, ready.slide.info)
        except SlideError as error:
            source.store.quarantine(ready.number, error)
            raise
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001
            self._refuse(refusal_of(error, "sampler failed", ready.slide.info.path))
            return None

    def _place(
        self, ready: ReadySlide, mpp: float, candidate: int, attempt: int
    ) -> PatchCoordinate | None:
        """Return the next place to try, or None when the sample's places are used up."""
        source = self._source
        rng = rng_at(source.recipe.seed, Purpose.PLACE, self._index, attempt)
        info = ready.slide.info
        if source.replacement == "with_replacement":
            return source.sampler.place(rng, info, ready.tissue, mpp)
        cells = ready.cells(source.sampler, mpp)
        if not len(cells):
            raise NoPlaceError(info.path, f"no cell of its grid at {mpp:g} um/px has enough tissue")
        if ready.number != self._own:
            # Its own samples are dealt all its cells; a guest may have any, also one of theirs.
            return cells[int(rng.integers(len(cells)))]
        cell = self._deal(ready, mpp, len(cells)).cell(candidate, is_anew=self._deals_anew)
        if cell is None:
            detail = f"the sample's share of {len(cells)} cells at {mpp:g} um/px is used up"
            self._has_place = self._is_used_up = True
            used_up = Rejection(slide_path=info.path, cause="cells used up", detail=detail)
            self._refuse(Refusal(used_up))
            return None
        return cells[cell]

    def _deal(self, ready: ReadySlide, mpp: float, num_cells: int) -> Deal:
        order = self._source.order
        turn = order.turn_of(self._index)
        visit = order.visit_of(self._index)
        # Visits that are drawn by weight do not know how often the slide had its turn.
        of_slide = f"{ready.slide.info.fingerprint} {mpp!r} {turn.slot if visit is None else ''}"
        return Deal(
            num_cells=num_cells,
            number=turn.number,
            per_visit=order.newest.patches_per_slide,
            spare=1 if self._source.recipe.patch_filter is None else _SPARE_CELLS,
            visit=visit or 0,
            key=zlib.crc32(of_slide.encode()) << 32 | self._source.recipe.seed & 0xFFFFFFFF,
        )

    def _refuse(self, refusal: Refusal) -> None:
        self._rejections.append(refusal.rejection)
        self._num_spent += 1
        self._num_faults += refusal.is_fault
        if refusal.error is not None:
            self._error = refusal.error

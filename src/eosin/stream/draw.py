"""One sample from its number: choose, read, judge, and go on to the next place or slide.

slides of i ─magnification→ mpp ─place→ coordinate ─read→ rgb ─accept→ views
                   └ once       └───── again after a rejection ─────┘
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from eosin.backends.patch import read_patch
from eosin.errors import MissingMppError, NoPlaceError, SlideError, SlideReadError
from eosin.filters.base import PatchFilter
from eosin.geometry import PatchCoordinate
from eosin.randomness import Purpose, rng_at
from eosin.sampling.base import PatchSampler
from eosin.stream.result import PatchResult, Rejection
from eosin.stream.slides import ReadySlide, SlideStore
from eosin.tissue.mask import Extent
from eosin.transforms.base import Image, Transform
from eosin.transforms.parameters import Parameters
from eosin.views import ViewConfig, draw_views, replay_views

_MAX_FRUITLESS_SLIDES = 64
"""Slides whose candidates may all be turned away before a sample counts as impossible."""


class Augmented(NamedTuple):
    """What was drawn, and the patch or the views that came of it."""

    drawn: Parameters
    whole: Image | None
    views: dict[str, Image] | None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PatchRecipe:
    """What happens to a candidate after its place is chosen."""

    seed: int
    patch_filter: PatchFilter | None
    transforms: Transform | None
    shared_transforms: Transform | None
    views: tuple[ViewConfig, ...] | None

    def read(
        self, ready: ReadySlide, coordinate: PatchCoordinate
    ) -> tuple[Image | None, Rejection | None]:
        """Return the accepted patch, or why there is none."""
        path = coordinate.slide_path
        try:
            image = read_patch(ready.slide, coordinate)
        except SlideReadError as error:
            return None, Rejection(
                slide_path=path,
                cause="unreadable region",
                detail=error.reason,
                coordinate=coordinate,
            )
        if self.patch_filter is not None and not self.patch_filter.accept(image):
            cause = type(self.patch_filter).__name__
            return None, Rejection(slide_path=path, cause=cause, coordinate=coordinate)
        return image, None

    def finish(
        self,
        index: int,
        image: Image,
        ready: ReadySlide,
        coordinate: PatchCoordinate,
        rejections: Sequence[Rejection],
    ) -> PatchResult:
        """Return an accepted patch as the sample with this number."""
        info = ready.slide.info
        level = info.levels[coordinate.level]
        extent = Extent(
            coordinate.read_width * level.downsample, coordinate.read_height * level.downsample
        )
        augmented = self._augment(index, image)
        return PatchResult(
            index=index,
            image=augmented.whole,
            views=augmented.views,
            augmentation=augmented.drawn,
            coordinate=coordinate,
            tissue_fraction=ready.tissue.fraction(coordinate.x, coordinate.y, extent),
            slide_metadata={
                "name": info.path.rsplit("/", 1)[-1],
                "fingerprint": info.fingerprint,
                "vendor": info.vendor,
                "mpp_source": info.mpp_source,
            },
            rejections=tuple(rejections),
        )

    def _augment(self, index: int, image: Image) -> Augmented:
        rng = rng_at(self.seed, Purpose.AUGMENTATION, index)
        height, width = image.shape[:2]
        if self.views is not None:
            shared = self.shared_transforms
            drawn = draw_views(rng, shared, self.views, width=width, height=height)
            return Augmented(drawn, None, replay_views(image, drawn, shared, self.views))
        if self.transforms is None:
            return Augmented({}, image, None)
        of_patch = dict(self.transforms.draw(rng, width=width, height=height))
        whole = self.transforms.replay(image, of_patch)
        return Augmented({"transforms": of_patch}, whole, None)


def draw_sample(
    index: int,
    slides: Iterable[int],
    store: SlideStore,
    sampler: PatchSampler,
    recipe: PatchRecipe,
    *,
    max_candidates: int,
) -> PatchResult | tuple[Rejection, ...]:
    """Return sample `index`, or what was tried when no slide gives it.

    Args:
        index: Number of the sample.
        slides: Its slide and the substitutes, in the order to try.
        store: Where slides come from.
        sampler: Chooses magnification and places.
        recipe: Reads, judges and augments.
        max_candidates: Places to try on one slide.
    """
    rejections: list[Rejection] = []
    for substitution, number in enumerate(slides):
        if len(rejections) >= _MAX_FRUITLESS_SLIDES * max_candidates:
            break
        try:
            ready = store.get(number)
            mpp = _magnification(index, number, ready, store, sampler, seed=recipe.seed)
            for candidate in range(max_candidates):
                # Attempts go on counting over substitutes, so that no two share a generator.
                attempt = substitution * max_candidates + candidate
                rng = rng_at(recipe.seed, Purpose.PLACE, index, attempt)
                coordinate = sampler.place(rng, ready.slide.info, ready.tissue, mpp)
                image, rejection = recipe.read(ready, coordinate)
                if image is not None:
                    return recipe.finish(index, image, ready, coordinate, rejections)
                if rejection is not None:
                    rejections.append(rejection)
        except SlideError as error:
            rejections.append(slide_rejection(error))
    return tuple(rejections)


def _magnification(
    index: int,
    number: int,
    ready: ReadySlide,
    store: SlideStore,
    sampler: PatchSampler,
    *,
    seed: int,
) -> float:
    """Draw the magnification; not again after a rejection, nor differently on a substitute.

    So what the filter turns away cannot bias the mix.
    """
    try:
        rng = rng_at(seed, Purpose.MAGNIFICATION, index)
        return sampler.magnification(rng, ready.slide.info)
    except SlideError as error:
        store.quarantine(number, error)
        raise


def slide_rejection(error: SlideError) -> Rejection:
    """Return what a slide's failure counts as."""
    causes = {NoPlaceError: "no place", MissingMppError: "no microns per pixel"}
    cause = causes.get(type(error), "unusable slide")
    return Rejection(slide_path=error.path, cause=cause, detail=error.reason)

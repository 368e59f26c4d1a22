"""What happens to one candidate: it is read, judged, and made into a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from eosin.catalog.entry import SlideEntry, Value
from eosin.errors import (
    ConfigError,
    MissingDependencyError,
    MissingMppError,
    NoPlaceError,
    SlideError,
    SlideReadError,
    StreamStalledError,
)
from eosin.filters.base import PatchFilter
from eosin.geometry import PatchCoordinate, SlideInfo
from eosin.randomness import Purpose, rng_at
from eosin.stream.ready import ReadySlide
from eosin.stream.result import PatchResult, Rejection, checksum
from eosin.stream.slides import SlideStore
from eosin.tissue.mask import Extent
from eosin.transforms.base import Image, Transform
from eosin.transforms.parameters import Parameters
from eosin.views import ViewConfig, draw_views, replay_views

UNREADABLE = "unreadable region"
"""Cause of a rejection that says something about the slide's file."""

STOPPING = (ConfigError, MissingDependencyError, StreamStalledError)
"""Errors that no other patch or slide helps against."""


class Refusal(NamedTuple):
    """Why a candidate gives nothing."""

    rejection: Rejection
    error: Exception | None = None
    """What broke, where something did."""
    is_fault: bool = False
    """Whether it broke in a component, and so on no account of the slide's."""


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
    has_checksum: bool = False
    """Whether samples carry the CRC-32 of their pixels before augmentation."""

    def read(
        self, store: SlideStore, ready: ReadySlide, coordinate: PatchCoordinate
    ) -> Image | Refusal:
        """Return the accepted patch, or why there is none."""
        path = coordinate.slide_path
        try:
            image = store.read(ready, coordinate)
        except SlideReadError as error:
            rejection = Rejection(
                slide_path=path, cause=UNREADABLE, detail=error.reason, coordinate=coordinate
            )
            broken = error.__cause__
            return Refusal(rejection, broken if isinstance(broken, Exception) else None)
        if self.patch_filter is None:
            return image
        cause = type(self.patch_filter).__name__
        try:
            is_accepted = self.patch_filter.accept(image)
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001
            return refusal_of(error, f"{cause} failed", path, coordinate)
        if is_accepted:
            return image
        return Refusal(Rejection(slide_path=path, cause=cause, coordinate=coordinate))

    def finish(
        self,
        index: int,
        image: Image,
        ready: ReadySlide,
        coordinate: PatchCoordinate,
        entry: SlideEntry,
        rejections: Sequence[Rejection],
    ) -> PatchResult | Refusal:
        """Return an accepted patch as the sample with this number, or why it cannot be."""
        info = ready.slide.info
        level = info.levels[coordinate.level]
        extent = Extent(
            coordinate.read_width * level.downsample, coordinate.read_height * level.downsample
        )
        # Before the augmentation, which need not leave the pixels alone.
        crc = checksum(image) if self.has_checksum else None
        try:
            augmented = self._augment(index, image)
        except STOPPING:
            raise
        except Exception as error:  # noqa: BLE001
            return refusal_of(error, "augmentation failed", info.path, coordinate)
        return PatchResult(
            index=index,
            image=augmented.whole,
            views=augmented.views,
            augmentation=augmented.drawn,
            coordinate=coordinate,
            tissue_fraction=ready.tissue.fraction(coordinate.x, coordinate.y, extent),
            slide_metadata=_metadata(info, entry.metadata),
            pixels_crc32=crc,
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


def refusal_of(
    error: Exception, cause: str, slide_path: str, coordinate: PatchCoordinate | None = None
) -> Refusal:
    """Return what an error that is not the slide's counts as."""
    rejection = Rejection(
        slide_path=slide_path,
        cause=cause,
        detail=f"{type(error).__name__}: {error}",
        coordinate=coordinate,
    )
    return Refusal(rejection, error, is_fault=True)


def slide_rejection(error: SlideError) -> Rejection:
    """Return what a slide's failure counts as."""
    causes = {NoPlaceError: "no place", MissingMppError: "no microns per pixel"}
    cause = causes.get(type(error), "unusable slide")
    return Rejection(slide_path=error.path, cause=cause, detail=error.reason)


def _metadata(info: SlideInfo, of_entry: Mapping[str, Value]) -> dict[str, Value]:
    """Return what the list knows of a slide, and what its reader does."""
    return {
        **of_entry,
        "name": info.path.rsplit("/", 1)[-1],
        "fingerprint": info.fingerprint,
        "vendor": info.vendor,
        "mpp_source": info.mpp_source,
    }

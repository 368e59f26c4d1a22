"""The reader to use when none is named: the fast one where it is exact, else OpenSlide."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from eosin.backends.base import Slide, SlideBackend
from eosin.backends.files import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from eosin.backends.image import ImageBackend
from eosin.backends.mpp import MppPolicy
from eosin.backends.openslide import OpenSlideBackend
from eosin.backends.tiff import NO_TIFF, TiffBackend, UnclaimedSlideError
from eosin.errors import SlideOpenError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AutoBackend(SlideBackend):
    """Open tiled TIFFs directly, plain images as images, and everything else with OpenSlide.

    Which reader takes a file depends on its content alone, so a slide has the same pixels in every
    run. `SlideInfo.reader` says which one it was.
    """

    mpp: MppPolicy = field(default_factory=MppPolicy)

    def open(self, path: Path | str) -> Slide:
        if Path(path).suffix.lower() in IMAGE_SUFFIXES:
            return ImageBackend(mpp=self.mpp).open(path)
        try:
            return TiffBackend(mpp=self.mpp).open(path)
        except UnclaimedSlideError as error:
            unclaimed = error
        if "://" in str(path):
            raise unclaimed
        try:
            slide = OpenSlideBackend(mpp=self.mpp).open(path)
        except SlideOpenError as error:
            why = UNREAD_SUFFIXES.get(Path(path).suffix.lower())
            if why is not None:
                raise SlideOpenError(path, f"{error.reason} ({why})") from error
            if unclaimed.reason == NO_TIFF:
                raise
            reason = f"{error.reason}; the direct TIFF reader: {unclaimed.reason}"
            raise SlideOpenError(path, reason) from error
        found = slide.num_levels_found
        if found < unclaimed.num_levels:
            slide.close()
            raise SlideOpenError(
                path,
                f"is damaged: OpenSlide finds {found} of its {unclaimed.num_levels} levels; "
                f"the direct TIFF reader: {unclaimed.reason}",
            )
        return slide

"""An open slide with its mask, and one read of it whose failures are all of one kind."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from eosin.backends.base import Slide
from eosin.backends.patch import read_patch
from eosin.errors import ConfigError, SlideReadError, StreamStalledError
from eosin.geometry import PatchCoordinate
from eosin.sampling.base import PatchSampler
from eosin.tissue.mask import TissueMask
from eosin.transforms.base import Image

_MAX_CELL_LISTS = 8


@dataclass(frozen=True, slots=True)
class ReadySlide:
    """An open slide and where its tissue is."""

    slide: Slide
    tissue: TissueMask
    number: int = 0
    """Of the slide in its store."""
    _cells: OrderedDict[float, Sequence[PatchCoordinate]] = field(default_factory=OrderedDict)

    def cells(self, sampler: PatchSampler, mpp: float) -> Sequence[PatchCoordinate]:
        """Return the sampler's disjoint patches, listed once for each magnification in use."""
        listed = self._cells.get(mpp)
        if listed is None:
            listed = sampler.cells(self.slide.info, self.tissue, mpp)
            self._cells[mpp] = listed
            while len(self._cells) > _MAX_CELL_LISTS:
                self._cells.popitem(last=False)
        return listed


def read_once(slide: Slide, coordinate: PatchCoordinate) -> Image:
    """Return the pixels of a patch.

    Raises:
        SlideReadError: If they cannot be read, also when the reader breaks in a way of its own.
    """
    try:
        return read_patch(slide, coordinate)
    except (SlideReadError, ConfigError, StreamStalledError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SlideReadError(coordinate.slide_path, reason) from error

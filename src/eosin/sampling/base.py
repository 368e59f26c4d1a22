"""What every sampler does: choose a magnification once, then a place as often as needed."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from eosin.errors import ConfigError
from eosin.geometry import PatchCoordinate, SlideInfo
from eosin.tissue.mask import TissueMask


class PatchSampler(ABC):
    """Chooses patches on a slide, and reads none."""

    @property
    @abstractmethod
    def max_per_slide(self) -> int | None:
        """Patches that one visit to a slide gives at most, None for no limit."""

    @abstractmethod
    def magnification(self, rng: np.random.Generator, slide_info: SlideInfo) -> float:
        """Return the target microns per pixel, drawn once per sample.

        Raises:
            MissingMppError: If the slide does not say how large its pixels are.
            NoPlaceError: If it has no level for any of the targets.
        """

    @abstractmethod
    def place(
        self,
        rng: np.random.Generator,
        slide_info: SlideInfo,
        tissue_mask: TissueMask,
        mpp: float,
    ) -> PatchCoordinate:
        """Return a patch at a magnification; drawn again after every rejection.

        Raises:
            NoPlaceError: If no window on the slide has enough tissue.
        """

    @abstractmethod
    def cells(
        self, slide_info: SlideInfo, tissue_mask: TissueMask, mpp: float
    ) -> Sequence[PatchCoordinate]:
        """Return disjoint patches at a magnification that cover the tissue, to draw each once.

        Row by row, the same list each time; empty when no cell has enough tissue.

        Raises:
            MissingMppError: If the slide does not say how large its pixels are.
            NoPlaceError: If it has no level for the magnification.
        """


def check_patches(*, patch_size: int, tissue_threshold: float) -> None:
    """Refuse patches that no sampler can find."""
    if patch_size < 1:
        raise ConfigError(f"patch_size={patch_size} must be at least 1 px")
    if not 0 <= tissue_threshold <= 1:
        raise ConfigError(f"tissue_threshold={tissue_threshold} must be a share from 0 to 1")

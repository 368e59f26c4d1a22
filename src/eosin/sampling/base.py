"""What every sampler does: choose a magnification once, then a place as often as needed."""

from abc import ABC, abstractmethod

import numpy as np

from eosin.errors import ConfigError, NoPlaceError
from eosin.geometry import PatchCoordinate, SlideInfo, Window
from eosin.tissue.mask import Extent, TissueMask


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


def draw_in_tissue(
    rng: np.random.Generator,
    slide_info: SlideInfo,
    tissue_mask: TissueMask,
    window: Window,
    tissue_threshold: float,
) -> PatchCoordinate:
    """Draw a place of a window uniformly among those with enough tissue.

    Raises:
        NoPlaceError: If there is none.
    """
    extent = Extent(window.width_l0, window.height_l0)
    place = tissue_mask.draw_place(rng, extent, tissue_threshold)
    if place is None:
        raise NoPlaceError(
            slide_info.path,
            f"no window of {window.width_l0:.0f} x {window.height_l0:.0f} level-0 px "
            f"({window.mpp:.3g} um/px) has {tissue_threshold:.0%} tissue; "
            f"the mask is {tissue_mask.tissue_fraction:.1%} tissue",
        )
    return window.at(slide_info, *place)


def check_sampler(*, patch_size: int, num_patches: int, tissue_threshold: float) -> None:
    """Refuse settings that no sampler can work with."""
    if patch_size < 1:
        raise ConfigError(f"patch_size={patch_size} must be at least 1 px")
    if num_patches != -1 and num_patches < 1:
        raise ConfigError(f"num_patches={num_patches} must be positive, or -1 for no limit")
    if not 0 <= tissue_threshold <= 1:
        raise ConfigError(f"tissue_threshold={tissue_threshold} must be a share from 0 to 1")

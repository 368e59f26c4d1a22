"""What the random samplers share: places uniform over tissue, whatever the magnification."""

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from eosin.errors import ConfigError, NoPlaceError
from eosin.geometry import MagnificationRule, PatchCoordinate, SlideInfo, Window, mpp_window
from eosin.sampling.base import PatchSampler, check_patches
from eosin.sampling.places import Places, grid_places
from eosin.tissue.mask import Extent, TissueMask


@dataclass(frozen=True, kw_only=True, slots=True)
class TissueSampler(PatchSampler):
    """Draw places uniformly over all that have enough tissue; magnifications are left open."""

    sizes_vary: ClassVar[bool] = False
    """Whether nearly every patch covers a field of its own size."""

    num_patches: int = -1
    """Patches per visit to a slide, -1 for as many as the stream asks for."""
    tissue_threshold: float = 0.4
    """Least share of a patch that is tissue by the mask."""
    rule: MagnificationRule = field(default_factory=MagnificationRule)

    @abstractmethod
    def window(self, slide_info: SlideInfo, mpp: float) -> Window:
        """Return what to read for a patch at a magnification that was drawn.

        Raises:
            MissingMppError: If the slide does not say how large its pixels are.
            NoPlaceError: If it has no level for the magnification.
        """

    @property
    def max_per_slide(self) -> int | None:
        return None if self.num_patches == -1 else self.num_patches

    def place(
        self,
        rng: np.random.Generator,
        slide_info: SlideInfo,
        tissue_mask: TissueMask,
        mpp: float,
    ) -> PatchCoordinate:
        window = self.window(slide_info, mpp)
        extent = Extent(window.width_l0, window.height_l0)
        place = tissue_mask.draw_place(
            rng, extent, self.tissue_threshold, sizes_vary=self.sizes_vary
        )
        if place is None:
            raise NoPlaceError(
                slide_info.path,
                f"no window of {window.width_l0:.0f} x {window.height_l0:.0f} level-0 px "
                f"({window.mpp:.3g} um/px) has {self.tissue_threshold:.0%} tissue; "
                f"the mask is {tissue_mask.tissue_fraction:.1%} tissue",
            )
        return window.at(slide_info, *place)

    def cells(self, slide_info: SlideInfo, tissue_mask: TissueMask, mpp: float) -> Places:
        window = self.window(slide_info, mpp)
        return grid_places(
            slide_info,
            tissue_mask,
            window,
            # Whole pixels: cells that begin at rounded multiples would overlap by one.
            step_l0=(float(math.ceil(window.width_l0)), float(math.ceil(window.height_l0))),
            tissue_threshold=self.tissue_threshold,
        )

    def _check(self, patch_size: int) -> None:
        check_patches(patch_size=patch_size, tissue_threshold=self.tissue_threshold)
        if self.num_patches != -1 and self.num_patches < 1:
            raise ConfigError(
                f"num_patches={self.num_patches} must be positive, or -1 for no limit"
            )


def target_window(
    slide_info: SlideInfo, *, target_mpp: float, patch_size: int, rule: MagnificationRule
) -> Window:
    """Return the window of a target magnification.

    Raises:
        MissingMppError: If the slide does not say how large its pixels are.
        NoPlaceError: If it has no level for it.
    """
    window = mpp_window(slide_info, target_mpp=target_mpp, patch_size=patch_size, rule=rule)
    if window is None:
        raise NoPlaceError(slide_info.path, no_level_reason(slide_info, f"{target_mpp:g}"))
    return window


def has_level_for(slide_info: SlideInfo, target_mpp: float, rule: MagnificationRule) -> bool:
    """Return whether `target_window` gives one; a microsecond, because only level 0 matters.

    Raises:
        MissingMppError: If the slide does not say how large its pixels are.
    """
    finest_mpp = slide_info.mpp_at(0).mean
    return rule.no_level != "skip" or finest_mpp <= target_mpp * rule.max_upsample


def no_level_reason(slide_info: SlideInfo, targets: str) -> str:
    """Say that no level is fine enough for the targets."""
    return (
        f"its finest level has {slide_info.mpp_at(0).mean:.4g} um/px, too coarse for {targets} "
        "um/px; ask for a coarser target or allow MagnificationRule(no_level='upsample')"
    )

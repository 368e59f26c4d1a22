"""Patches at random places, at one magnification or one pyramid level."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from eosin.errors import ConfigError, NoPlaceError
from eosin.geometry import (
    MagnificationRule,
    PatchCoordinate,
    SlideInfo,
    Window,
    level_window,
    mpp_window,
)
from eosin.sampling.base import PatchSampler, check_sampler, draw_in_tissue
from eosin.tissue.mask import TissueMask


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSampler(PatchSampler):
    """Draw places uniformly over all that have enough tissue."""

    patch_size: int = 256
    """Pixels of the delivered patch, along both axes."""
    num_patches: int = -1
    """Patches per visit to a slide, -1 for as many as the stream asks for."""
    level: int = 0
    """Pyramid level to read as it is, when there is no `target_mpp`."""
    target_mpp: float | None = None
    """Microns per delivered pixel, made exactly from the levels there are."""
    tissue_threshold: float = 0.4
    """Least share of a patch that is tissue by the mask."""
    rule: MagnificationRule = field(default_factory=MagnificationRule)

    def __post_init__(self) -> None:
        check_sampler(
            patch_size=self.patch_size,
            num_patches=self.num_patches,
            tissue_threshold=self.tissue_threshold,
        )
        check_target(self.level, self.target_mpp)

    @property
    def max_per_slide(self) -> int | None:
        return None if self.num_patches == -1 else self.num_patches

    def magnification(self, rng: np.random.Generator, slide_info: SlideInfo) -> float:
        window = self._window(slide_info)
        return window.mpp if self.target_mpp is None else self.target_mpp

    def place(
        self,
        rng: np.random.Generator,
        slide_info: SlideInfo,
        tissue_mask: TissueMask,
        mpp: float,
    ) -> PatchCoordinate:
        window = self._window(slide_info)
        return draw_in_tissue(rng, slide_info, tissue_mask, window, self.tissue_threshold)

    def _window(self, slide_info: SlideInfo) -> Window:
        return single_window(
            slide_info,
            patch_size=self.patch_size,
            level=self.level,
            target_mpp=self.target_mpp,
            rule=self.rule,
        )


def single_window(
    slide_info: SlideInfo,
    *,
    patch_size: int,
    level: int,
    target_mpp: float | None,
    rule: MagnificationRule,
) -> Window:
    """Return the window of a target magnification, or of a level when there is no target.

    Raises:
        MissingMppError: If the slide does not say how large its pixels are.
        NoPlaceError: If it has no such level.
    """
    if target_mpp is None:
        return level_window(slide_info, level=level, patch_size=patch_size)
    window = mpp_window(slide_info, target_mpp=target_mpp, patch_size=patch_size, rule=rule)
    if window is None:
        raise NoPlaceError(slide_info.path, no_level_reason(slide_info, (target_mpp,)))
    return window


def no_level_reason(slide_info: SlideInfo, target_mpps: tuple[float, ...]) -> str:
    """Say that no level is fine enough for the targets."""
    targets = ", ".join(f"{mpp:g}" for mpp in target_mpps)
    return (
        f"its finest level has {slide_info.mpp_at(0).mean:.4g} um/px, too coarse for {targets} "
        "um/px; ask for a coarser target or allow MagnificationRule(no_level='upsample')"
    )


def check_target(level: int, target_mpp: float | None) -> None:
    """Refuse a level or target magnification that no slide can have."""
    if level < 0:
        raise ConfigError(f"level={level} must be 0 (the finest) or more")
    if target_mpp is not None and not target_mpp > 0:
        raise ConfigError(f"target_mpp={target_mpp} must be positive microns per pixel")

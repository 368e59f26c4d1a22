"""Patches at random places and at several magnifications, as Midnight trains on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from eosin.errors import ConfigError, NoPlaceError
from eosin.geometry import MagnificationRule, PatchCoordinate, SlideInfo, Window, mpp_window
from eosin.sampling.base import PatchSampler, check_sampler, draw_in_tissue
from eosin.sampling.random import no_level_reason
from eosin.tissue.mask import TissueMask


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MultiMagnificationSampler(PatchSampler):
    """Draw a magnification, then a place uniformly over all that have enough tissue.

    A target that a slide has no level for is left out there, and the others take its share.

    Source: Karasikov et al. 2025, arXiv:2504.05186 (256 px at 0.25, 0.5, 1 and 2 um/px, 40 %).
    """

    target_mpps: Sequence[float] = (0.25, 0.5, 1.0, 2.0)
    """Microns per delivered pixel, made exactly from the levels there are."""
    mpp_weights: tuple[float, ...] | None = None
    """How often each target is drawn, relative to the others; all alike when None."""
    patch_size: int = 256
    """Pixels of the delivered patch, along both axes."""
    num_patches: int = -1
    """Patches per visit to a slide, -1 for as many as the stream asks for."""
    tissue_threshold: float = 0.4
    """Least share of a patch that is tissue by the mask."""
    rule: MagnificationRule = field(default_factory=MagnificationRule)

    def __post_init__(self) -> None:
        check_sampler(
            patch_size=self.patch_size,
            num_patches=self.num_patches,
            tissue_threshold=self.tissue_threshold,
        )
        targets = tuple(float(mpp) for mpp in self.target_mpps)
        if not targets or min(targets) <= 0 or len(set(targets)) < len(targets):
            raise ConfigError(f"target_mpps={targets} must be different positive numbers")
        weights = tuple(self.mpp_weights or [1.0] * len(targets))
        object.__setattr__(self, "mpp_weights", self.mpp_weights and weights)
        if len(weights) != len(targets) or min(weights) < 0 or sum(weights) == 0:
            raise ConfigError(
                f"mpp_weights={weights} must be {len(targets)} numbers, none negative, not all 0"
            )
        object.__setattr__(self, "target_mpps", targets)

    @property
    def max_per_slide(self) -> int | None:
        return None if self.num_patches == -1 else self.num_patches

    def magnification(self, rng: np.random.Generator, slide_info: SlideInfo) -> float:
        weights = np.asarray(self.mpp_weights or [1.0] * len(self.target_mpps))
        usable = [self._window(slide_info, mpp) is not None for mpp in self.target_mpps]
        cumulative = np.cumsum(weights * usable)
        if cumulative[-1] == 0:
            reason = no_level_reason(slide_info, tuple(self.target_mpps))
            raise NoPlaceError(slide_info.path, reason)
        drawn = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
        return self.target_mpps[int(drawn)]

    def place(
        self,
        rng: np.random.Generator,
        slide_info: SlideInfo,
        tissue_mask: TissueMask,
        mpp: float,
    ) -> PatchCoordinate:
        window = self._window(slide_info, mpp)
        if window is None:
            raise NoPlaceError(slide_info.path, no_level_reason(slide_info, (mpp,)))
        return draw_in_tissue(rng, slide_info, tissue_mask, window, self.tissue_threshold)

    def _window(self, slide_info: SlideInfo, mpp: float) -> Window | None:
        return mpp_window(slide_info, target_mpp=mpp, patch_size=self.patch_size, rule=self.rule)

"""Patches at random places and at several magnifications, as Midnight trains on."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import final

import numpy as np

from eosin.errors import ConfigError, NoPlaceError
from eosin.geometry import SlideInfo, Window
from eosin.sampling.in_tissue import (
    TissueSampler,
    has_level_for,
    no_level_reason,
    target_window,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MultiMagnificationSampler(TissueSampler):
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

    def __post_init__(self) -> None:
        self._check(self.patch_size)
        targets = tuple(float(mpp) for mpp in self.target_mpps)
        is_mpp = all(0 < mpp < np.inf for mpp in targets)
        if not targets or not is_mpp or len(set(targets)) < len(targets):
            raise ConfigError(f"target_mpps={targets} must be different positive numbers")
        weights = tuple(self.mpp_weights or [1.0] * len(targets))
        object.__setattr__(self, "mpp_weights", self.mpp_weights and weights)
        is_weight = all(0 <= weight < np.inf for weight in weights)
        if len(weights) != len(targets) or not is_weight or sum(weights) == 0:
            raise ConfigError(
                f"mpp_weights={weights} must be {len(targets)} finite numbers, none negative, "
                "not all 0"
            )
        object.__setattr__(self, "target_mpps", targets)

    def magnification(self, rng: np.random.Generator, slide_info: SlideInfo) -> float:
        weights = self.mpp_weights or (1.0,) * len(self.target_mpps)
        cumulative = list(
            accumulate(
                weight * has_level_for(slide_info, mpp, self.rule)
                for weight, mpp in zip(weights, self.target_mpps, strict=True)
            )
        )
        if cumulative[-1] == 0:
            targets = ", ".join(f"{mpp:g}" for mpp in self.target_mpps)
            raise NoPlaceError(slide_info.path, no_level_reason(slide_info, targets))
        return self.target_mpps[bisect_right(cumulative, rng.random() * cumulative[-1])]

    def window(self, slide_info: SlideInfo, mpp: float) -> Window:
        return target_window(slide_info, target_mpp=mpp, patch_size=self.patch_size, rule=self.rule)

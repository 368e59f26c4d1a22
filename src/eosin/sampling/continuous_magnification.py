"""Patches at random places and at every magnification of a range, not at a few only."""

from dataclasses import dataclass, field
from typing import ClassVar, final, get_args

import numpy as np

from eosin.errors import ConfigError, NoPlaceError
from eosin.geometry import MagnificationRule, SlideInfo, Window
from eosin.sampling.density import Distribution, cdf, inverse_cdf
from eosin.sampling.in_tissue import TissueSampler, no_level_reason, target_window


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuousMagnificationSampler(TissueSampler):
    """Draw a magnification from a density on a range, then a place uniformly over tissue.

    On a slide that is too coarse for the lower end of the range the density is cut off there, and
    what is left of it is drawn as it is.

    Source: Möllers et al. 2026, arXiv:2601.02198; the densities are in `eosin.sampling.density`.
    """

    sizes_vary: ClassVar[bool] = True

    output_size: int = 224
    """Pixels of the delivered patch, along both axes."""
    mpp_range: tuple[float, float] = (0.25, 2.0)
    """Least and most microns per delivered pixel."""
    distribution: Distribution = "uniform"
    """Density of um/px: uniform, best on average, or best where it is worst."""
    lambda_maxavg: float = 1.0
    """For "maxavg": the more, the more uniform."""
    rule: MagnificationRule = field(default_factory=lambda: MagnificationRule(mpp_tolerance=0.0))
    """Without tolerance: reading levels as they are would draw their magnifications too often."""

    def __post_init__(self) -> None:
        # Here, since the shared check would name a field that this sampler has not.
        if self.output_size < 1:
            raise ConfigError(f"output_size={self.output_size} must be at least 1 px")
        self._check(self.output_size)
        object.__setattr__(self, "mpp_range", tuple(float(mpp) for mpp in self.mpp_range))
        if len(self.mpp_range) != 2 or not 0 < self.mpp_range[0] < self.mpp_range[1] < np.inf:
            raise ConfigError(f"mpp_range={self.mpp_range} must be two positive numbers, rising")
        if self.distribution not in get_args(Distribution):
            raise ConfigError(
                f"distribution={self.distribution!r} is not one of {get_args(Distribution)}"
            )
        if not 0 < self.lambda_maxavg < np.inf:
            raise ConfigError(f"lambda_maxavg={self.lambda_maxavg} must be positive")

    def magnification(self, rng: np.random.Generator, slide_info: SlideInfo) -> float:
        least, most = self.mpp_range
        # A little above the limit, where rounding could leave the rule without a level.
        limit = slide_info.mpp_at(0).mean / self.rule.max_upsample * (1 + 1e-12)
        if self.rule.no_level == "skip":
            least = max(least, limit)
        if least > most:
            targets = f"{self.mpp_range[0]:g} to {most:g}"
            raise NoPlaceError(slide_info.path, no_level_reason(slide_info, targets))
        density = (self.distribution, self.mpp_range, self.lambda_maxavg)
        below = cdf(*density, least)
        share = below + (1 - below) * rng.random()
        return max(least, inverse_cdf(*density, share))

    def window(self, slide_info: SlideInfo, mpp: float) -> Window:
        return target_window(
            slide_info, target_mpp=mpp, patch_size=self.output_size, rule=self.rule
        )

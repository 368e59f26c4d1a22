"""Patches at random places, at one magnification or one pyramid level."""

from dataclasses import dataclass
from typing import final

import numpy as np

from eosin.errors import ConfigError
from eosin.geometry import MagnificationRule, SlideInfo, Window, level_window
from eosin.sampling.in_tissue import TissueSampler, target_window


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSampler(TissueSampler):
    """Draw places uniformly over all that have enough tissue."""

    patch_size: int = 256
    """Pixels of the delivered patch, along both axes."""
    level: int = 0
    """Pyramid level to read as it is, when there is no `target_mpp`."""
    target_mpp: float | None = None
    """Microns per delivered pixel, made exactly from the levels there are."""

    def __post_init__(self) -> None:
        self._check(self.patch_size)
        check_target(self.level, self.target_mpp)

    def magnification(self, rng: np.random.Generator, slide_info: SlideInfo) -> float:
        window = self._only_window(slide_info)
        return window.mpp if self.target_mpp is None else self.target_mpp

    def window(self, slide_info: SlideInfo, mpp: float) -> Window:
        return self._only_window(slide_info)

    def _only_window(self, slide_info: SlideInfo) -> Window:
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
    return target_window(slide_info, target_mpp=target_mpp, patch_size=patch_size, rule=rule)


def check_target(level: int, target_mpp: float | None) -> None:
    """Refuse a level or target magnification that no slide can have."""
    if level < 0:
        raise ConfigError(f"level={level} must be 0 (the finest) or more")
    if target_mpp is not None and not 0 < target_mpp < np.inf:
        raise ConfigError(f"target_mpp={target_mpp} must be positive microns per pixel")

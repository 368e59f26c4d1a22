"""Several detectors as one: what all of them call tissue, or what any does."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Bool, UInt8

from eosin.errors import ConfigError
from eosin.tissue.base import TissueDetector


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CombinedTissueDetector(TissueDetector):
    """Call a pixel tissue when all detectors do, or when any does."""

    detectors: tuple[TissueDetector, ...]
    mode: Literal["and", "or"] = "and"

    def __post_init__(self) -> None:
        if not self.detectors:
            raise ConfigError("detectors=() must hold at least one tissue detector")
        if self.mode not in ("and", "or"):
            raise ConfigError(f"mode={self.mode!r} is neither 'and' nor 'or'")

    def detect(
        self, thumbnail: UInt8[np.ndarray, "height width 3"], *, mpp: float | None
    ) -> Bool[np.ndarray, "height width"]:
        combine = np.logical_and if self.mode == "and" else np.logical_or
        mask = self.detectors[0].detect(thumbnail, mpp=mpp)
        for detector in self.detectors[1:]:
            mask = combine(mask, detector.detect(thumbnail, mpp=mpp))
        return mask

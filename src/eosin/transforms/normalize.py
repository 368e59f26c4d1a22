"""Grey levels to the range that a model was trained with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from eosin.errors import ConfigError
from eosin.transforms.base import Image, Transform
from eosin.transforms.parameters import Parameters


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NormalizeTransform(Transform):
    """Return (image / 255 - mean) / std per channel, as float32 height x width x 3."""

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(
                f"mean={self.mean} and std={self.std} must be three numbers each, std positive"
            )

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        return {}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        scale = 1 / (255 * np.asarray(self.std, np.float32))
        offset = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        return (image * scale - offset).astype(np.float32)

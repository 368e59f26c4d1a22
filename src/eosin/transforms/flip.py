"""Flips and quarter turns: a slide has no up."""

from dataclasses import dataclass
from typing import final

import numpy as np

from eosin.errors import ConfigError
from eosin.transforms.base import Image, Transform


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomFlipRotate(Transform):
    """Flip and turn by a random multiple of 90 degrees, each with its own probability."""

    p_hflip: float = 0.5
    p_vflip: float = 0.5
    p_rot90: float = 0.5
    """Of a turn by 90, 180 or 270 degrees, all alike."""

    def __post_init__(self) -> None:
        for name in ("p_hflip", "p_vflip", "p_rot90"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be a probability")

    def apply(self, image: Image, rng: np.random.Generator) -> Image:
        flips_h, flips_v, turns = rng.random(3) < (self.p_hflip, self.p_vflip, self.p_rot90)
        quarter_turns = int(rng.integers(1, 4))
        if flips_h:
            image = image[:, ::-1]
        if flips_v:
            image = image[::-1]
        if turns:
            image = np.rot90(image, quarter_turns)
        return np.ascontiguousarray(image)

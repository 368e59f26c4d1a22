"""What every transform does, and several of them in a row."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, UInt8

Image = UInt8[np.ndarray, "_height _width 3"] | Float32[np.ndarray, "_height _width 3"]
"""RGB. The underscores say that a result need not be as large as its input."""


class Transform(ABC):
    """Turns an image into another; holds settings and no state."""

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Image:
        """Return the transformed image.

        Args:
            image: RGB, uint8 unless an earlier transform made it float32.
            rng: Where random choices come from; a fresh one when None, for people at a prompt.
        """
        return self.apply(image, np.random.default_rng() if rng is None else rng)

    @abstractmethod
    def apply(self, image: Image, rng: np.random.Generator) -> Image:
        """Return the transformed image; the input stays as it was."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ComposeTransforms(Transform):
    """Apply transforms one after another, all drawing from the same generator."""

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))

    def apply(self, image: Image, rng: np.random.Generator) -> Image:
        for transform in self.transforms:
            image = transform.apply(image, rng)
        return image

"""A transform that happens only sometimes."""

from dataclasses import dataclass
from typing import final

import numpy as np

from eosin.errors import ConfigError
from eosin.transforms.base import Image, Transform
from eosin.transforms.parameters import Parameters, read_nested, read_number


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomApply(Transform):
    """Apply a transform with a probability, and otherwise leave the image as it is."""

    transform: Transform
    p: float
    """Of the transform happening."""

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"p={self.p} must be a probability")

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        if rng.random() >= self.p:
            return {"applied": False}
        drawn = self.transform.draw(rng, width=width, height=height)
        return {"applied": True, "drawn": dict(drawn)}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        if not read_number(parameters, "applied"):
            return np.ascontiguousarray(image)
        return self.transform.replay(image, read_nested(parameters, "drawn"))

    def size_after(self, parameters: Parameters, *, width: int, height: int) -> tuple[int, int]:
        if not read_number(parameters, "applied"):
            return width, height
        drawn = read_nested(parameters, "drawn")
        return self.transform.size_after(drawn, width=width, height=height)

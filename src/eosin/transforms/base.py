"""What every transform does, and several of them in a row.

generator, width, height ─draw→ parameters      chooses, sees no pixel
image, parameters ─replay→ image                works, chooses nothing
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, UInt8

from eosin.errors import InputError
from eosin.transforms.parameters import Parameters, read_steps

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

    @final
    def apply(self, image: Image, rng: np.random.Generator) -> Image:
        """Return the transformed image; the input stays as it was."""
        height, width = image.shape[:2]
        return self.replay(image, self.draw(rng, width=width, height=height))

    @abstractmethod
    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        """Return all that is random about one application to an image of this size in pixels.

        Plain and small: it is stored with the sample, and JSON gives it back unchanged.
        """

    @abstractmethod
    def replay(self, image: Image, parameters: Parameters) -> Image:
        """Return the image transformed as drawn; the input stays as it was.

        Raises:
            InputError: If the parameters are not of this transform.
        """

    def size_after(self, parameters: Parameters, *, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the result for an image of this size, in pixels."""
        return width, height


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ComposeTransforms(Transform):
    """Apply transforms one after another, all drawing from the same generator."""

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        steps = []
        for transform in self.transforms:
            drawn = dict(transform.draw(rng, width=width, height=height))
            width, height = transform.size_after(drawn, width=width, height=height)
            steps.append(drawn)
        return {"steps": [*steps]}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        for transform, drawn in self.steps(parameters):
            image = transform.replay(image, drawn)
        return image

    def size_after(self, parameters: Parameters, *, width: int, height: int) -> tuple[int, int]:
        for transform, drawn in self.steps(parameters):
            width, height = transform.size_after(drawn, width=width, height=height)
        return width, height

    def steps(self, parameters: Parameters) -> list[tuple[Transform, Parameters]]:
        """Return each transform with what it drew."""
        drawn = read_steps(parameters, "steps")
        if len(drawn) != len(self.transforms):
            raise InputError(
                f"parameters of {len(drawn)} steps are for another composition than this one of "
                f"{len(self.transforms)}; replay them with the settings that drew them"
            )
        return list(zip(self.transforms, drawn, strict=True))

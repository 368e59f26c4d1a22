"""Images at another size."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np

from eosin.errors import ConfigError
from eosin.transforms.base import Image, Transform
from eosin.transforms.parameters import Parameters


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeTransform(Transform):
    """Resize to a square: area average when shrinking, linear when enlarging."""

    target_size: int = 224
    """Width and height in pixels."""

    def __post_init__(self) -> None:
        if self.target_size < 1:
            raise ConfigError(f"target_size={self.target_size} must be at least 1 px")

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        return {}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        return resize(image, self.target_size)

    def size_after(self, parameters: Parameters, *, width: int, height: int) -> tuple[int, int]:
        return self.target_size, self.target_size


def resize(image: Image, size: int, *, enlarge_with: int = cv2.INTER_LINEAR) -> Image:
    """Return an image of `size` x `size` pixels; shrinking averages areas, so nothing aliases."""
    height, width = image.shape[:2]
    shrinks = height >= size and width >= size
    method = cv2.INTER_AREA if shrinks else enlarge_with
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), dtype=image.dtype)

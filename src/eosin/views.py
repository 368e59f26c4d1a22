"""Patch to crops: the several views of one patch that self-supervised training compares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import cv2
import numpy as np

from eosin.errors import ConfigError
from eosin.transforms.base import Image, Transform
from eosin.transforms.resize import resize

GLOBAL, LOCAL = "global", "local"
"""What the names of views begin with, by their part in training."""

_MAX_TRIES = 10


class CropBox(NamedTuple):
    """Part of an image, in its pixels."""

    x: int
    y: int
    width: int
    height: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RandomResizedCrop(Transform):
    """Cut a random part of random area and shape, and resize it to a square.

    Shrinks by area average and enlarges by cubic interpolation.

    Source: torchvision's RandomResizedCrop, as DINOv2 uses it (there bicubic with antialiasing):
    ten tries for area and log-uniform aspect ratio, then the largest centred crop of allowed shape.
    """

    size: int
    """Width and height of the result in pixels."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Share of the image's area, from and to."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width / height, from and to."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size={self.size} must be at least 1 px")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"scale={self.scale} must be two rising shares in (0, 1]")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(f"ratio={self.ratio} must be two rising positive numbers")

    def apply(self, image: Image, rng: np.random.Generator) -> Image:
        box = self.draw_box(rng, width=image.shape[1], height=image.shape[0])
        part = image[box.y : box.y + box.height, box.x : box.x + box.width]
        return resize(part, self.size, enlarge_with=cv2.INTER_CUBIC)

    def draw_box(self, rng: np.random.Generator, *, width: int, height: int) -> CropBox:
        """Return which part of an image of this size to cut."""
        log_ratio = (math.log(self.ratio[0]), math.log(self.ratio[1]))
        for _ in range(_MAX_TRIES):
            area = width * height * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(*log_ratio))
            crop_width = round(math.sqrt(area * aspect))
            crop_height = round(math.sqrt(area / aspect))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                x = int(rng.integers(0, width - crop_width + 1))
                y = int(rng.integers(0, height - crop_height + 1))
                return CropBox(x, y, crop_width, crop_height)
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_width = max(1, min(width, round(height * aspect)))
        crop_height = max(1, min(height, round(width / aspect)))
        return CropBox(
            (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ViewConfig:
    """One kind of view: a crop, then transforms, drawn `count` times."""

    name: str
    """Key of the view in a result; numbered from `name_0` when there are several."""
    crop: Transform | None = None
    transforms: Transform | None = None
    count: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a view needs a name")
        if self.count < 1:
            raise ConfigError(f"count={self.count} of view {self.name!r} must be at least 1")
        if self.count > 1 and self.crop is None and self.transforms is None:
            raise ConfigError(
                f"view {self.name!r} has count={self.count} and neither crop nor transforms, "
                "so its views would be the same; give it one, or count=1"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of the views in a result."""
        if self.count == 1:
            return (self.name,)
        return tuple(f"{self.name}_{number}" for number in range(self.count))

    def draw(self, image: Image, rng: np.random.Generator) -> Image:
        """Return one view of an image."""
        if self.crop is not None:
            image = self.crop.apply(image, rng)
        if self.transforms is not None:
            image = self.transforms.apply(image, rng)
        return image


def check_views(views: Sequence[ViewConfig]) -> None:
    """Refuse an empty list, and views that would overwrite each other in a result."""
    if not views:
        raise ConfigError("views is empty; leave it out to get whole patches")
    names = [name for view in views for name in view.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"views are named {', '.join(twice)} twice; give each its own name")

"""Patch to crops: the several views of one patch that self-supervised training compares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import cv2
import numpy as np

from eosin.errors import ConfigError, check_whole_number
from eosin.plain import Plain
from eosin.transforms.base import Image, Transform
from eosin.transforms.parameters import Parameters, read_nested, read_numbers

GLOBAL, LOCAL = "global", "local"
"""What the names of views begin with, by their part in training."""

_MAX_TRIES = 10

_MILD_SHRINK = 1.25
"""Factor up to which cubic interpolation does not alias visibly."""

Resampling = Literal["cubic", "halved", "area"]


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

    Interpolates cubically, with areas averaged where it shrinks (`resampling`).

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
        check_whole_number("size", self.size, 1, 2**14)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"scale={self.scale} must be two rising shares in (0, 1]")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(f"ratio={self.ratio} must be two rising positive numbers")

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        return {"box": [*self.draw_box(rng, width=width, height=height)]}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        x, y, width, height = read_box(parameters)
        part = image[y : y + height, x : x + width]
        return resample(part, self.size)

    def size_after(self, parameters: Parameters, *, width: int, height: int) -> tuple[int, int]:
        return self.size, self.size

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


def resampling(width: int, height: int, size: int) -> Resampling:
    """Return how a box of this size in pixels is brought to `size` x `size` pixels.

    All are near DINOv2's bicubic with antialiasing, and nearer than the area average where they
    take its place: with structure of 2 px, 0.7 against 1.7 grey levels at a shrink of 1.5.
    """
    shrink = math.sqrt(width * height) / size
    if width < size or height < size or shrink <= _MILD_SHRINK:
        return "cubic"
    return "halved" if shrink <= 2 else "area"


def resample(image: Image, size: int) -> Image:
    """Return an image of `size` x `size` pixels, as `resampling` says.

    `halved` is cubic to twice the size and then the mean of each 2 x 2 pixels.
    """
    method = resampling(image.shape[1], image.shape[0], size)
    if method == "halved":
        image = cv2.resize(image, (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC)
    kernel = cv2.INTER_CUBIC if method == "cubic" else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (size, size), interpolation=kernel), dtype=image.dtype)


def read_box(parameters: Parameters) -> CropBox:
    """Return the box that a crop drew."""
    x, y, width, height = (int(number) for number in read_numbers(parameters, "box"))
    return CropBox(x, y, width, height)


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
        check_whole_number(f"view {self.name!r}: count", self.count, 1, 1000)
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

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        """Return what is random about one view: of its `crop` and its `transforms`."""
        drawn: dict[str, Plain] = {}
        if self.crop is not None:
            of_crop = dict(self.crop.draw(rng, width=width, height=height))
            width, height = self.crop.size_after(of_crop, width=width, height=height)
            drawn["crop"] = of_crop
        if self.transforms is not None:
            drawn["transforms"] = dict(self.transforms.draw(rng, width=width, height=height))
        return drawn

    def replay(self, image: Image, parameters: Parameters) -> Image:
        """Return the view of an image that was drawn."""
        if self.crop is not None:
            image = self.crop.replay(image, read_nested(parameters, "crop"))
        if self.transforms is not None:
            image = self.transforms.replay(image, read_nested(parameters, "transforms"))
        return image

    def apply(self, image: Image, rng: np.random.Generator) -> Image:
        """Return one view of an image."""
        height, width = image.shape[:2]
        return self.replay(image, self.draw(rng, width=width, height=height))


def draw_views(
    rng: np.random.Generator,
    shared: Transform | None,
    views: Sequence[ViewConfig],
    *,
    width: int,
    height: int,
) -> Parameters:
    """Return what is random about the views of a patch: `shared`, and `views` by their names.

    Args:
        rng: Where choices come from.
        shared: Applied once to the patch that all views are cut from.
        views: What is cut.
        width: Of the patch in pixels.
        height: Of the patch in pixels.
    """
    drawn: dict[str, Plain] = {}
    if shared is not None:
        drawn["shared"] = dict(shared.draw(rng, width=width, height=height))
        width, height = shared.size_after(read_nested(drawn, "shared"), width=width, height=height)
    drawn["views"] = {
        name: dict(view.draw(rng, width=width, height=height))
        for view in views
        for name in view.names
    }
    return drawn


def replay_views(
    image: Image, parameters: Parameters, shared: Transform | None, views: Sequence[ViewConfig]
) -> dict[str, Image]:
    """Return the views of a patch that `draw_views` drew, by name."""
    if shared is not None:
        image = shared.replay(image, read_nested(parameters, "shared"))
    drawn = read_nested(parameters, "views")
    return {
        name: view.replay(image, read_nested(drawn, name)) for view in views for name in view.names
    }


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DeferredViews(Transform):
    """Draw the views of a patch and leave the patch whole, so that a device can cut them later.

    As the transform of a stream without views it delivers the patches, and with them in
    `augmentation["transforms"]` just what a stream with these views would have drawn.
    """

    shared: Transform | None
    """Applied once to the patch that all views are cut from."""
    views: tuple[ViewConfig, ...]

    def __post_init__(self) -> None:
        check_views(self.views)

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        return draw_views(rng, self.shared, self.views, width=width, height=height)

    def replay(self, image: Image, parameters: Parameters) -> Image:
        return np.ascontiguousarray(image)


def check_views(views: Sequence[ViewConfig]) -> None:
    """Refuse an empty list, and views that would overwrite each other in a result."""
    if not views:
        raise ConfigError("views is empty; leave it out to get whole patches")
    names = [name for view in views for name in view.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"views are named {', '.join(twice)} twice; give each its own name")

"""Brightness, contrast, saturation and hue, each changed a little, in random order."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import UInt8

from eosin.errors import ConfigError
from eosin.transforms.base import Image, Transform
from eosin.transforms.bytes_only import require_bytes
from eosin.transforms.grayscale import LUMA
from eosin.transforms.hue import turn_hue
from eosin.transforms.parameters import Parameters, read_number, read_numbers

CHANGES = ("brightness", "contrast", "saturation", "hue")
"""Numbered as in the drawn `order`."""

_MAX_HUE = 1 / 6


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ColorJitter(Transform):
    """Scale brightness, contrast and saturation by factors around 1, and turn the hue.

    Each step is rounded and saturates at 0 and 255, as with PIL images; each is within one grey
    level of PIL's for factors from 0.5 to 1.5, but for the hue: here it is the HSV formula within
    one level, and PIL's HSV in bytes is up to 15 off.

    Source: torchvision's ColorJitter: factors U(max(0, 1 - b), 1 + b), hue U(-h, h), random order.
    """

    brightness: float = 0.4
    """Half width of the factors around 1; so for the next two."""
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    """Half width of the turns, as a share of the circle."""

    def __post_init__(self) -> None:
        for name in CHANGES[:3]:
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name}={getattr(self, name)} must be a finite number from 0 up")
        if not 0 <= self.hue <= _MAX_HUE:
            raise ConfigError(f"hue={self.hue} must be from 0 to 1/6 of the circle")

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        halves = (self.brightness, self.contrast, self.saturation)
        low = [max(0.0, 1 - half) for half in halves]
        high = [*(1 + half for half in halves), self.hue]
        at = rng.random(4).tolist()
        factors = [a + (b - a) * t for a, b, t in zip([*low, -self.hue], high, at, strict=True)]
        return {
            "order": rng.permutation(4).tolist(),
            **dict(zip(CHANGES, factors, strict=True)),
        }

    def replay(self, image: Image, parameters: Parameters) -> Image:
        require_bytes(image, "ColorJitter")
        for number in read_numbers(parameters, "order"):
            name = CHANGES[int(number)]
            image = change_colour(image, name, read_number(parameters, name))
        return image


def change_colour(
    image: UInt8[np.ndarray, "height width 3"], name: str, amount: float | int
) -> UInt8[np.ndarray, "height width 3"]:
    """Return an RGB image with one of `CHANGES` made."""
    match name:
        case "brightness":
            changed = cv2.convertScaleAbs(image, alpha=amount)
        case "contrast":
            grey = int(np.dot(cv2.mean(image)[:3], LUMA) + 0.5)
            changed = cv2.addWeighted(image, amount, image, 0, (1 - amount) * grey)
        case "saturation":
            grey_image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            changed = cv2.addWeighted(image, amount, grey_image, 1 - amount, 0)
        case _:
            changed = turn_hue(image, amount)
    return np.asarray(changed, dtype=np.uint8)

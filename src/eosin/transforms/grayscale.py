"""Colour to grey."""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np

from eosin.transforms.base import Image, Transform
from eosin.transforms.bytes_only import require_bytes
from eosin.transforms.parameters import Parameters

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in a grey level. Source: ITU-R BT.601, as PIL's mode L."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Grayscale(Transform):
    """Return the luma in all three channels.

    Source: torchvision's RandomGrayscale on PIL images; within one grey level of it.
    """

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        return {}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        require_bytes(image, "Grayscale")
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)

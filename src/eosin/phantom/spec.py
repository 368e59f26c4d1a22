"""What one phantom slide is made from, as plain data that travels inside the slide."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from eosin.errors import ConfigError

CLASSES = ("background", "gland", "stroma", "lymphoid", "fat")
"""What a pixel of a label map says, by its value."""

LABEL_UM = 8.0
"""Side of a label pixel on the slide."""

DRAWING_VERSION = 3
"""Part of what a slide says about itself: raise it when the same spec draws other pixels."""

JPEG_QUALITY = 85

PYRAMID = (1, 4, 16)
"""Downsamples of the levels; level sizes are exact because slide sizes are multiples of 16."""

_LEAST_SIDE_UM = 256.0

PenColour = Literal["green", "blue", "black"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomSpec:
    """Everything that decides the bytes of a phantom slide."""

    seed: int
    width_l0: int = 4096
    """A multiple of 16 and of a label pixel (32 px at 0.25 um/px), at least 256 um."""
    height_l0: int = 4096
    mpp: float = 0.25
    """Microns per level-0 pixel; must divide the 8 um of a label pixel."""
    pen: PenColour | None = None
    """Colour of a stroke of marker pen over the slide, if any."""

    def __post_init__(self) -> None:
        if self.mpp <= 0 or not (LABEL_UM / self.mpp).is_integer():
            raise ConfigError(
                f"mpp={self.mpp} does not divide {LABEL_UM} um; use 0.25, 0.5 or another that does"
            )
        for name, side_l0 in (("width_l0", self.width_l0), ("height_l0", self.height_l0)):
            too_small = side_l0 * self.mpp < _LEAST_SIDE_UM
            if too_small or side_l0 % PYRAMID[-1] or side_l0 % self.label_px_l0:
                raise ConfigError(
                    f"{name}={side_l0} must be at least {_LEAST_SIDE_UM:.0f} um and a multiple of "
                    f"{PYRAMID[-1]} and of {self.label_px_l0} px; use such as 2048 or 4096"
                )

    @property
    def label_px_l0(self) -> int:
        """Side of a label pixel in level-0 pixels."""
        return round(LABEL_UM / self.mpp)


def describe(spec: PhantomSpec) -> str:
    """Return the ImageDescription of the slide: Aperio's own fields, then the spec."""
    size = f"{spec.width_l0}x{spec.height_l0}"
    return (
        f"Aperio Image Library eosin phantom\r\n"
        f"{size} [0,0 {size}] (256x256) JPEG/RGB Q={JPEG_QUALITY}"
        f"|AppMag = {round(10 / spec.mpp)}|MPP = {spec.mpp}"
        f"|Phantom version = {DRAWING_VERSION}|Phantom spec = {json.dumps(asdict(spec))}"
    )

"""Turns amounts of two stains into colours: every slide its own dyes, drift, haze and pen.

What varies here hides the classes from anything that only counts colours, and leaves their
arrangement alone.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from eosin.phantom.layout import Layout, smooth_noise
from eosin.phantom.spec import LABEL_UM, PenColour

_HEMATOXYLIN_OD = (0.62, 0.68, 0.26)
_EOSIN_OD = (0.09, 0.74, 0.34)
"""Optical densities of red, green and blue at amount one; blue stays below green, so that every
mixture keeps the hue between cyan and red that the HSV test for tissue asks for."""

_HAZE_TINT = 16.0
"""By how many grey levels the haze of a region may be off middle grey."""

_PEN_RGB: dict[PenColour, tuple[int, int, int]] = {
    "green": (20, 130, 60),
    "blue": (35, 50, 150),
    "black": (35, 33, 38),
}


@dataclass(frozen=True, kw_only=True)
class Stain:
    """The dyes of one slide."""

    od: Float[np.ndarray, "2 3"]
    """Optical density at amount one: hematoxylin and eosin by red, green, blue."""
    strength: Float[np.ndarray, "2"]
    glass: int
    """Grey level of empty glass."""


def draw_stain(rng: np.random.Generator) -> Stain:
    """Return the dyes of a slide."""
    od = np.array([_HEMATOXYLIN_OD, _EOSIN_OD])
    od *= np.exp(rng.normal(0, (0.09, 0.045, 0.12), (2, 3)))
    od[:, 2] = np.minimum(od[:, 2], 0.75 * od[:, 1])
    return Stain(
        od=od,
        strength=np.exp(rng.uniform(-0.18, 0.18) + rng.uniform(-0.1, 0.1, 2)),
        glass=int(rng.integers(238, 248)),
    )


def gain_maps(
    rng: np.random.Generator, layout: Layout, stain: Stain
) -> list[Float32[np.ndarray, "rows cols"]]:
    """Return how strongly each dye took, by label pixel: slide, region and smooth drift."""
    num_regions = len(layout.region_class) + 1
    thickness = rng.normal(0, 0.22, num_regions)
    maps = []
    for strength, spread in zip(stain.strength, (0.22, 0.1), strict=True):
        by_region = np.exp(thickness + rng.normal(0, spread, num_regions))
        drift = np.exp(0.06 * smooth_noise(rng, layout.region.shape, 160.0 / LABEL_UM))
        maps.append(np.float32(strength) * _soften(by_region[layout.region]) * drift)
    return maps


def mottle_map(rng: np.random.Generator, layout: Layout) -> Float32[np.ndarray, "rows cols"]:
    """Return how blotchy a dye lies, by label pixel: it spreads the colours of any class."""
    by_region = rng.uniform(0.0, 0.32, len(layout.region_class) + 1)
    return _soften(by_region[layout.region])


def haze_maps(
    rng: np.random.Generator, layout: Layout
) -> tuple[Float32[np.ndarray, "rows cols"], UInt8[np.ndarray, "rows cols 3"]]:
    """Return how much of the light is no haze, and the colour of the haze, by label pixel.

    Haze is about middle grey: it moves whole histograms by a bin, tints what is pale, and leaves
    the arrangement alone.
    """
    num_regions = len(layout.region_class)
    clarity = np.append(rng.uniform(0.67, 1.0, num_regions), 1.0)
    red, blue = rng.uniform(-_HAZE_TINT, _HAZE_TINT, (2, num_regions + 1))
    # Never green or yellow, or the HSV test would refuse tissue for its haze.
    green = np.minimum(red, blue) - rng.uniform(0, _HAZE_TINT / 2, num_regions + 1)
    colour = np.rint(127 + np.stack([red, green, blue], axis=1)).astype(np.uint8)
    return _soften(clarity[layout.region]), colour[layout.region]


def colour_table(stain: Stain) -> UInt8[np.ndarray, "65536 4"]:
    """Return red, green, blue and a zero for every pair 256 * hematoxylin + eosin."""
    amount = np.arange(256) / 128
    od = amount[:, None, None] * stain.od[0] + amount[None, :, None] * stain.od[1]
    table = np.zeros((65536, 4), np.uint8)
    table[:, :3] = np.rint(stain.glass * np.exp(-od)).reshape(-1, 3)
    return table


def draw_pen(
    rng: np.random.Generator, rgb: UInt8[np.ndarray, "rows cols 3"], colour: PenColour, mpp: float
) -> UInt8[np.ndarray, "rows cols"]:
    """Draw a stroke of marker along one side in place; return 255 where it lies."""
    t = np.linspace(0, 1, 60)
    wave = np.sin(2 * np.pi * (rng.uniform(0.7, 1.6) * t + rng.uniform()))
    across = rng.uniform(0.12, 0.28) + 0.05 * wave
    along = 0.08 + rng.uniform(0.45, 0.75) * t
    axes = (along, across) if rng.random() < 0.5 else (across, along)
    points = np.stack(axes, axis=1) * (rgb.shape[1], rgb.shape[0])
    stroke = np.zeros(rgb.shape[:2], np.uint8)
    width_px = round(rng.uniform(45, 75) / mpp)
    cv2.polylines(stroke, [np.rint(points).astype(np.int32)], False, 255, width_px)
    left, top, width, height = cv2.boundingRect(stroke)
    box = slice(top, top + height), slice(left, left + width)
    # Ink hides most of what lies under it, but not all.
    ink = np.full((height, width, 3), np.array(_PEN_RGB[colour]) * 0.9, np.uint8)
    inked = cv2.addWeighted(rgb[box], 0.12, ink, 1.0, 0.0)
    rgb[box] = np.where(stroke[box][..., None] > 0, inked, rgb[box])
    return stroke


def _soften(stepped: Float[np.ndarray, "rows cols"]) -> Float32[np.ndarray, "rows cols"]:
    """Return a map by region with its steps smoothed over two label pixels."""
    return np.asarray(cv2.GaussianBlur(stepped.astype(np.float32), (0, 0), 2.0), dtype=np.float32)

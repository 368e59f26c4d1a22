"""Thumbnails to find tissue on: real slides, phantoms, and both with ink or paler."""

from functools import cache

import cv2
import numpy as np

from eosin.backends import OpenSlideBackend
from eosin.phantom.slide import draw_phantom
from eosin.phantom.spec import PhantomSpec
from eosin.tissue.base import mask_max_px
from eosin.tissue.resolution import MAX_PX_WITHOUT_MPP
from real_data import real_file

INKS = {
    "black": (35, 35, 40),
    "blue": (30, 50, 170),
    "light blue": (60, 120, 220),
    "green": (20, 130, 70),
    "red": (205, 30, 45),
    "orange": (250, 140, 30),
}


@cache
def real_thumbnail(*parts: str) -> tuple[np.ndarray, float | None]:
    """Return the thumbnail that masks are made from, and its um/px."""
    with OpenSlideBackend().open(real_file("data", *parts)) as slide:
        info = slide.info
        # Detectors shrink what has no um/px to as much, and readers take long for more.
        thumbnail = slide.thumbnail(mask_max_px(info) if info.mpp else MAX_PX_WITHOUT_MPP)
    thumbnail.flags.writeable = False
    longer = max(info.width_l0, info.height_l0)
    mpp = None if info.mpp is None else info.mpp.mean * longer / max(thumbnail.shape)
    return thumbnail, mpp


@cache
def phantom_thumbnail(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a phantom at 8 um/px, and its label map of the same size."""
    rgb, labels = draw_phantom(PhantomSpec(seed=seed))
    size = (labels.shape[1], labels.shape[0])
    thumbnail = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    thumbnail.flags.writeable = labels.flags.writeable = False
    return thumbnail, labels


def paler(thumbnail: np.ndarray, share: float) -> np.ndarray:
    """Leave only a share of what the stain takes from the light."""
    glass = [np.bincount(thumbnail[..., channel].ravel()).argmax() for channel in range(3)]
    faded = glass - (glass - thumbnail.astype(np.float64)) * share
    return np.clip(np.round(faded), 0, 255).astype(np.uint8)


def stroke(
    shape: tuple[int, ...], mpp: float, seed: int, *, width_um: float = 700.0, num: int = 3
) -> np.ndarray:
    """Draw curved strokes; 255 is all ink."""
    rng = np.random.default_rng(seed)
    ink = np.zeros(shape[:2], np.uint8)
    t = np.linspace(0, 1, 60)[:, None]
    for _ in range(num):
        a, b, c, d = rng.uniform([0, 0], [shape[1], shape[0]], (4, 2))
        curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
        points = [np.round(curve * 16).astype(np.int32)]
        cv2.polylines(ink, points, False, 255, int(width_um / mpp), cv2.LINE_AA, 4)
    return ink


def inked(
    thumbnail: np.ndarray, ink: np.ndarray, colour: tuple[int, int, int], opacity: float
) -> np.ndarray:
    """Lay ink over a thumbnail, with a soft rim and grain; it takes light as ink does."""
    grain = np.random.default_rng(0).normal(1, 0.03, (*ink.shape, 1))
    share = cv2.GaussianBlur(ink, (0, 0), 1.5)[..., None] / 255 * opacity
    through = thumbnail / 255 * np.array(colour) * grain
    return np.clip(thumbnail * (1 - share) + through * share, 0, 255).astype(np.uint8)

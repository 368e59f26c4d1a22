"""Draws a phantom slide and writes it as a pyramidal TIFF that readers take for Aperio's.

layout ─textures→ two stains ─gain, blotches→ ─colours, haze→ rgb ─pen→ pyramid + label map
"""

from pathlib import Path

import cv2
import numpy as np
import tifffile
from jaxtyping import Float32, UInt8

from eosin.atomic import atomic_file, write_atomic
from eosin.phantom.ground import Ground
from eosin.phantom.labels import labels_path
from eosin.phantom.layout import Layout, draw_layout, smooth_noise
from eosin.phantom.spec import CLASSES, JPEG_QUALITY, LABEL_UM, PYRAMID, PhantomSpec, describe
from eosin.phantom.stain import (
    colour_table,
    draw_pen,
    draw_stain,
    gain_maps,
    haze_maps,
    mottle_map,
)
from eosin.phantom.textures import TEXTURES

_REACH_UM = 64.0
"""How far objects may hang over the border of their region."""

_GRAIN_UM = 0.5
"""Pixel of the blotches and grain that are multiplied onto the stains."""

_STRIP_PX = 256
"""Rows that are coloured at once, so that intermediates stay in the cache."""


def write_phantom(path: Path, spec: PhantomSpec) -> None:
    """Write a phantom slide to `path` (`.svs`) and its label map beside it, each whole or not.

    The label map comes first: a new slide that stands there has its labels. The same spec gives
    the same bytes with the same versions of NumPy, OpenCV and libjpeg-turbo.
    """
    rgb, labels = draw_phantom(spec)
    write_atomic(labels_path(path), cv2.imencode(".png", labels)[1].tobytes())
    with atomic_file(path) as aside:
        _write_pyramid(aside, rgb, spec)


def draw_phantom(
    spec: PhantomSpec,
) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "label_rows label_cols"]]:
    """Return the pixels of level 0 before compression, and the label map (see `LabelMap`)."""
    shape = spec.height_l0 // spec.label_px_l0, spec.width_l0 // spec.label_px_l0
    layout = draw_layout(_rng(spec, 0), shape)
    stains = _draw_tissue(spec, layout)
    rng = _rng(spec, 1)
    stain = draw_stain(rng)
    for amounts, gain in zip(stains, gain_maps(rng, layout, stain), strict=True):
        _multiply(rng, amounts, gain=gain, mottle=mottle_map(rng, layout), mpp=spec.mpp)
    rgb = _colour(rng, *stains, table=colour_table(stain))
    _blend(rgb, *haze_maps(rng, layout))
    labels = layout.labels
    if spec.pen is not None:
        stroke = draw_pen(_rng(spec, 2), rgb, spec.pen, spec.mpp)
        touched = cv2.resize(stroke, shape[::-1], interpolation=cv2.INTER_AREA)
        labels = np.where(touched > 0, np.uint8(0), labels)
    return rgb, labels


def _rng(spec: PhantomSpec, part: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(part,)))


def _draw_tissue(
    spec: PhantomSpec, layout: Layout
) -> tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]:
    """Return the amounts of hematoxylin and eosin (128 is one) in standard staining."""
    hematoxylin, eosin = (np.zeros((spec.height_l0, spec.width_l0), np.uint8) for _ in range(2))
    scale = spec.label_px_l0
    reach = round(_REACH_UM / LABEL_UM)
    for index, class_index in enumerate(layout.region_class):
        mask = (layout.region == index).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        rows = slice(max(0, top - reach), min(mask.shape[0], top + height + reach))
        cols = slice(max(0, left - reach), min(mask.shape[1], left + width + reach))
        window = (
            slice(rows.start * scale, rows.stop * scale),
            slice(cols.start * scale, cols.stop * scale),
        )
        depth_px = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[rows, cols]
        ground = Ground(
            hematoxylin=hematoxylin[window],
            eosin=eosin[window],
            inside=_upsample_mask(mask[rows, cols], scale),
            depth_um=np.asarray(depth_px * LABEL_UM, dtype=np.float32),
            px_per_um=1 / spec.mpp,
        )
        TEXTURES[CLASSES[class_index]](ground, _rng(spec, 3 + index))
    return hematoxylin, eosin


def _upsample_mask(
    mask: UInt8[np.ndarray, "rows cols"], scale: int
) -> UInt8[np.ndarray, "fine_rows fine_cols"]:
    size = mask.shape[1] * scale, mask.shape[0] * scale
    soft = cv2.resize(cv2.blur(mask * 255, (3, 3)), size, interpolation=cv2.INTER_LINEAR)
    # Slightly less than half: neighbours overlap by a hair instead of leaving glass between them.
    return np.asarray(cv2.threshold(soft, 110, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)


def _multiply(
    rng: np.random.Generator,
    amounts: UInt8[np.ndarray, "height width"],
    *,
    gain: Float32[np.ndarray, "rows cols"],
    mottle: Float32[np.ndarray, "rows cols"],
    mpp: float,
) -> None:
    """Multiply in place by a smooth gain, fine grain, and blotches as strong as `mottle`."""
    height, width = amounts.shape
    shape = round(height * mpp / _GRAIN_UM), round(width * mpp / _GRAIN_UM)
    blotches, strength = (
        cv2.resize(by_label, shape[::-1], interpolation=cv2.INTER_LINEAR)
        for by_label in (mottle, gain)
    )
    factor = blotches * smooth_noise(rng, shape, 3.5 / _GRAIN_UM)
    factor += 1 + 0.05 * smooth_noise(rng, shape, 0.5 / _GRAIN_UM)
    coarse = np.clip(factor * strength * 64, 0, 255).astype(np.uint8)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.multiply(amounts, fine, dst=amounts, scale=1 / 64)


def _colour(
    rng: np.random.Generator,
    hematoxylin: UInt8[np.ndarray, "height width"],
    eosin: UInt8[np.ndarray, "height width"],
    *,
    table: UInt8[np.ndarray, "65536 4"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Look up the colours strip by strip, with grey noise of the camera."""
    height, width = hematoxylin.shape
    packed = table.view(np.uint32)[:, 0]
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_PX):
        strip = slice(top, min(top + _STRIP_PX, height))
        pairs = (hematoxylin[strip].astype(np.uint16) << 8) | eosin[strip]
        colours = packed[pairs].view(np.uint8).reshape(*pairs.shape, 4)
        noise = rng.integers(0, 5, pairs.shape, np.uint8)
        rgb[strip] = cv2.subtract(cv2.cvtColor(colours, cv2.COLOR_RGBA2RGB), cv2.merge([noise] * 3))
    return rgb


def _blend(
    rgb: UInt8[np.ndarray, "height width 3"],
    clarity: Float32[np.ndarray, "rows cols"],
    haze: UInt8[np.ndarray, "rows cols 3"],
) -> None:
    """Lay haze over the picture in place, strip by strip."""
    size = rgb.shape[1], rgb.shape[0]
    share, haze_l0 = (cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in (clarity, haze))
    for top in range(0, size[1], _STRIP_PX):
        strip = slice(top, top + _STRIP_PX)
        rgb[strip] = cv2.blendLinear(rgb[strip], haze_l0[strip], share[strip], 1 - share[strip])


def _write_pyramid(path: Path, rgb: UInt8[np.ndarray, "height width 3"], spec: PhantomSpec) -> None:
    with tifffile.TiffWriter(path) as tiff:
        for downsample in PYRAMID:
            size = spec.width_l0 // downsample, spec.height_l0 // downsample
            tiff.write(
                cv2.resize(rgb, size, interpolation=cv2.INTER_AREA),
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": JPEG_QUALITY},
                subsampling=(2, 2),
                description=describe(spec),
                software=False,
                metadata=None,
                maxworkers=1,
            )

"""Masks that came from elsewhere: a folder with a picture or a drawing for each slide."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import final

import cv2
import imagecodecs
import numpy as np
from jaxtyping import Bool

from eosin.backends.base import Slide
from eosin.errors import ConfigError, SlideError, system_reason
from eosin.geometry import SlideInfo
from eosin.reading import exists, read_regular
from eosin.tissue.base import TissueSource, mask_max_px
from eosin.tissue.geojson import fill_areas, parse_geojson
from eosin.tissue.mask import TissueMask

logger = logging.getLogger(__name__)

_ASPECT_TOLERANCE = 0.01

_MAX_PIXELS = 2**29
"""Of a PNG; one that claims more would take gigabytes before it could be shrunk."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFolder(TissueSource):
    """Take the mask of `a.svs` from `a.png` or `a.geojson` in a folder.

    A PNG covers the whole slide in any size of the slide's proportions (to 1 % or a pixel); what
    is neither black nor transparent is tissue. A GeoJSON file holds Polygon and MultiPolygon
    features in level-0 pixels, as QuPath exports them; points and lines in it are left out, which
    is logged. Of slides with margins that were never scanned (MRXS), QuPath counts from the scanned
    part: shift such drawings first. Masks are kept at 8 um per pixel like others, where they are
    finer.
    """

    folder: Path | str
    fallback: TissueSource | None = None
    """For slides without a file; None refuses such slides."""
    classes: tuple[str, ...] = ()
    """Names of the classifications in GeoJSON files that are tissue; none means all areas."""

    def __post_init__(self) -> None:
        if any(not isinstance(name, str) or not name for name in self.classes):
            raise ConfigError(f"classes={self.classes!r} must be names; leave them out for all")

    def tissue(self, slide: Slide) -> TissueMask:
        info = slide.info
        path = self._file_of(info)
        if path is None:
            return self._fallback_for(info).tissue(slide)
        content = _content(info, path)
        mask = (
            _from_png(info, path, content)
            if path.suffix == ".png"
            else _from_geojson(info, path, content, self.classes)
        )
        return TissueMask(mask, width_l0=info.width_l0, height_l0=info.height_l0)

    def content_key(self, slide: Slide) -> str:
        path = self._file_of(slide.info)
        if path is None:
            return self._fallback_for(slide.info).content_key(slide)
        return path.suffix + hashlib.sha256(_content(slide.info, path)).hexdigest()

    def _file_of(self, info: SlideInfo) -> Path | None:
        stem = Path(info.path).stem
        named = [self._named(stem, suffix) for suffix in (".png", ".geojson")]
        # A name that is too long for a file is not there.
        found = [path for path in named if exists(path)]
        if len(found) > 1:
            raise SlideError(info.path, f"has two masks, {found[0]} and {found[1]}; remove one")
        return found[0] if found else None

    def _named(self, stem: str, suffix: str) -> Path:
        return Path(self.folder) / f"{stem}{suffix}"

    def _fallback_for(self, info: SlideInfo) -> TissueSource:
        if self.fallback is None:
            stem = Path(info.path).stem
            raise SlideError(
                info.path,
                f"has no mask: neither {self._named(stem, '.png')} nor "
                f"{self._named(stem, '.geojson')} is there; add one or give a fallback",
            )
        return self.fallback


def _content(info: SlideInfo, path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise SlideError(
            info.path, f"its mask {path} cannot be read ({system_reason(error)})"
        ) from error


def _from_png(info: SlideInfo, path: Path, content: bytes) -> Bool[np.ndarray, "height width"]:
    # Width and height follow the signature, and the length and name of the first chunk.
    claimed = int.from_bytes(content[16:20], "big") * int.from_bytes(content[20:24], "big")
    if claimed > _MAX_PIXELS:
        raise SlideError(
            info.path,
            f"its mask {path} says that it has {claimed} pixels, more than {_MAX_PIXELS}; save it "
            "at a lower resolution, 8 um per pixel is enough",
        )
    try:
        pixels = np.atleast_3d(imagecodecs.png_decode(content))
    except (ValueError, imagecodecs.PngError) as error:
        raise SlideError(info.path, f"its mask {path} is no sound PNG ({error})") from error
    height, width, channels = pixels.shape
    colours = pixels[..., :-1] if channels in (2, 4) else pixels
    mask = (colours != 0).any(2)
    if channels in (2, 4):
        mask &= pixels[..., -1] != 0
    expected = width * info.height_l0 / info.width_l0
    if abs(height - expected) > 1 + _ASPECT_TOLERANCE * height:
        raise SlideError(
            info.path,
            f"is {info.width_l0} x {info.height_l0} px and its mask {path} {width} x {height}, "
            f"which is not in proportion (x {expected:.0f} would be); give one of the whole slide",
        )
    shape = _mask_shape(info)
    if max(shape) >= max(mask.shape):
        return np.asarray(mask)
    share = cv2.resize(mask.view(np.uint8) * 255, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 128, dtype=bool)


def _from_geojson(
    info: SlideInfo, path: Path, content: bytes, classes: tuple[str, ...]
) -> Bool[np.ndarray, "height width"]:
    try:
        drawing = parse_geojson(content.decode("utf-8-sig"))
    except ValueError as error:
        raise SlideError(info.path, f"its mask {path} cannot be used: {error}") from error
    if drawing.num_without_area:
        logger.warning(
            "%s: %d points or lines hold no area and are left out", path, drawing.num_without_area
        )
    areas = [area for area in drawing.areas if not classes or area.class_name in classes]
    if drawing.areas and not areas:
        raise SlideError(
            info.path,
            f"its mask {path} has areas of {', '.join(map(repr, drawing.class_names))} and none "
            f"of {', '.join(map(repr, classes))}",
        )
    return fill_areas(
        areas, shape=_mask_shape(info), width_l0=info.width_l0, height_l0=info.height_l0
    )


def _mask_shape(info: SlideInfo) -> tuple[int, int]:
    scale = min(1.0, mask_max_px(info) / max(info.width_l0, info.height_l0))
    return max(1, round(info.height_l0 * scale)), max(1, round(info.width_l0 * scale))

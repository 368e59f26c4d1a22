"""Areas that people drew, as QuPath and others write them: GeoJSON text to polygons to a mask.

Coordinates are level-0 pixels. Points and lines hold no area and are passed over, counted.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

_NO_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")

_SUBPIXEL_BITS = 4
_FARTHEST_PX = 2.0**20

Ring = Float[np.ndarray, "points 2"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """A polygon: where a class of tissue is."""

    rings: tuple[Ring, ...]
    """The outline and then the holes, x and y in level-0 pixels."""
    class_name: str
    """Of the annotation; empty when it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """What stands in a file."""

    areas: tuple[Area, ...]
    num_without_area: int
    """Points and lines, which are left out."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the areas, sorted."""
        return tuple(sorted({area.class_name for area in self.areas}))


def parse_geojson(text: str) -> Drawing:
    """Return the areas of a FeatureCollection, a list of features, a feature or a bare geometry.

    Raises:
        ValueError: If it is no such thing, or holds a geometry of another kind; the message says
            which.
    """
    try:
        return _drawing(json.loads(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _drawing(document: object) -> Drawing:
    areas: list[Area] = []
    num_without_area = 0
    for number, feature in enumerate(_features(document)):
        geometry = _object(feature.get("geometry", feature), f"feature {number} has no geometry")
        kind = geometry.get("type")
        if kind in _NO_AREA:
            num_without_area += 1
            continue
        try:
            polygons = _polygons(kind, geometry.get("coordinates"))
            rings = [tuple(_ring(ring) for ring in polygon) for polygon in polygons]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"feature {number}: {error}") from error
        name = _class_name(feature)
        areas.extend(Area(rings=polygon, class_name=name) for polygon in rings if polygon)
    return Drawing(areas=tuple(areas), num_without_area=num_without_area)


def fill_areas(
    areas: Sequence[Area], *, shape: tuple[int, int], width_l0: int, height_l0: int
) -> Bool[np.ndarray, "height width"]:
    """Return a mask of a slide in which the areas are true, each without its holes.

    Mask pixels that an outline crosses belong to the area.
    """
    mask = np.zeros(shape, np.uint8)
    scale = np.array([shape[1] / width_l0, shape[0] / height_l0])
    for area in areas:
        rings = [_to_fixed_point(ring * scale) for ring in area.rings]
        if len(rings) == 1:
            cv2.fillPoly(mask, rings, 1, shift=_SUBPIXEL_BITS)
        else:
            _fill_with_holes(mask, rings)
    return np.asarray(mask.view(np.bool_))


def _fill_with_holes(mask: np.ndarray, rings: Sequence[Int[np.ndarray, "_points 2"]]) -> None:
    # Beside the mask, because a hole must not cut into another area; only as large as the outline.
    bottom_right = np.array(mask.shape[::-1])
    low = np.clip((rings[0].min(0) >> _SUBPIXEL_BITS) - 1, 0, bottom_right)
    high = np.clip((rings[0].max(0) >> _SUBPIXEL_BITS) + 3, 0, bottom_right)
    part = mask[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return
    alone = np.zeros(part.shape, np.uint8)
    moved = [ring - (low << _SUBPIXEL_BITS).astype(np.int32) for ring in rings]
    cv2.fillPoly(alone, moved, 1, shift=_SUBPIXEL_BITS)
    np.maximum(part, alone, out=part)


def _to_fixed_point(ring_px: Ring) -> Int[np.ndarray, "points 2"]:
    # OpenCV's whole numbers are the middles of pixels, ours their top-left corners.
    near = np.clip(ring_px - 0.5, -_FARTHEST_PX, _FARTHEST_PX)
    return np.asarray(np.round(near * 2**_SUBPIXEL_BITS), np.int32)


def _features(document: object) -> Iterator[dict[str, object]]:
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        document = document.get("features")
    found = document if isinstance(document, list) else [document]
    for feature in found:
        yield _object(feature, "it is no FeatureCollection, list of features or feature")


def _object(value: object, otherwise: str) -> dict[str, object]:
    match value:
        case dict():
            return value
        case _:
            raise ValueError(otherwise)


def _polygons(kind: object, coordinates: object) -> list[list[object]]:
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a geometry of type {kind!r} is neither Polygon nor MultiPolygon")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not all(isinstance(p, list) for p in polygons):
        raise ValueError(f"the coordinates of its {kind} are no lists of rings")
    return polygons


def _ring(points: object) -> Ring:
    ring = np.asarray(points, np.float64)
    if ring.ndim != 2 or ring.shape[1] < 2 or len(ring) < 3:
        raise ValueError("a ring of its polygon is no list of at least 3 points x, y")
    if not np.isfinite(ring).all():
        raise ValueError("a ring of its polygon has a coordinate that is no finite number")
    return np.asarray(ring[:, :2])


def _class_name(feature: dict[str, object]) -> str:
    properties = feature.get("properties")
    classification = properties.get("classification") if isinstance(properties, dict) else None
    name = classification.get("name") if isinstance(classification, dict) else classification
    return "" if name is None else str(name)

"""Drawings as programs write them and as files get damaged: areas, or one line saying why not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.tissue.geojson import fill_areas, parse_geojson

TRIANGLE = [[0, 0], [900, 0], [900, 900]]


def polygon(coordinates: str) -> str:
    return f'{{"type": "Polygon", "coordinates": {coordinates}}}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (polygon(f"[[[{'9' * 400}, 1], [1, 1], [2, 2]]]"), "too large"),
        (polygon(f"[[[{'9' * 5000}, 1], [1, 1], [2, 2]]]"), "digits"),
        ("[" * 100_000, "nested too deeply"),
        (polygon("[" * 900 + "]" * 900), "feature 0"),
        ('{"a":' * 100_000, "nested too deeply"),
        (polygon("[[[NaN, 0], [1, 1], [2, 2]]]"), "no finite number"),
        (polygon("[[[1e400, 0], [1, 1], [2, 2]]]"), "no finite number"),
        (polygon("[[[null, 0], [1, 1], [2, 2]]]"), "feature 0"),
        (polygon('[[["x", 0], [1, 1], [2, 2]]]'), "feature 0"),
        (polygon("[[[0, 0], [1, 1], [2]]]"), "feature 0"),
        (polygon("[[[0, 0], [1, 1]]]"), "at least 3 points"),
        (polygon("{}"), "no lists of rings"),
        ("3", "no FeatureCollection"),
        ('{"type": "Feature", "geometry": []}', "has no geometry"),
        ("", "Expecting value"),
    ],
    ids=range(15),
)
def test_what_is_no_drawing_is_refused_with_the_reason(text, says):
    """Row 33 of the faults: integers too large and deep nesting ended in other errors."""
    with pytest.raises(ValueError, match=says):
        parse_geojson(text)


def test_a_ring_that_is_not_closed_is_closed():
    open_ring, closed = (
        fill_areas(
            parse_geojson(polygon(json.dumps([ring]))).areas,
            shape=(9, 9), width_l0=900, height_l0=900,
        )
        for ring in (TRIANGLE, [*TRIANGLE, TRIANGLE[0]])
    )  # fmt: skip
    assert (open_ring == closed).all()
    assert open_ring.any()


KINDS = st.sampled_from(
    ["Feature", "FeatureCollection", "Polygon", "MultiPolygon", "Point", "GeometryCollection", None]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=3),
    st.just([TRIANGLE]), st.just([[TRIANGLE]]),
)  # fmt: skip
KEYS = st.sampled_from(["type", "features", "geometry", "coordinates", "properties", "name"])
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=4),
        st.builds(lambda kind, rest: {**rest, "type": kind}, KINDS, st.dictionaries(KEYS, inner)),
    ),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_any_document_is_drawn_or_refused(document):
    """Row 33 of the faults, as a property."""
    try:
        drawing = parse_geojson(json.dumps(document))
    except ValueError:
        return
    fill_areas(drawing.areas, shape=(7, 11), width_l0=900, height_l0=1300)

import json
import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from eosin.backends import SyntheticBackend
from eosin.errors import ConfigError, SlideError
from eosin.plain import from_plain, to_plain
from eosin.tissue import HSVTissueDetector, MaskFolder, MaskStore

WIDTH, HEIGHT = 4000, 3000
SLIDE = SyntheticBackend(width_l0=WIDTH, height_l0=HEIGHT).open("somewhere/a.b.svs")
"""At 0.25 um/px, so its masks are 125 x 94 pixels."""


def quarter(height=30, width=40):
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, width // 2 :] = 7
    return mask


def save(folder, pixels, name="a.b.png"):
    Image.fromarray(pixels).save(folder / name)
    return MaskFolder(folder=folder)


def square(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(*rings, name=None, kind="Polygon"):
    properties = {"objectType": "annotation"}
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    coordinates = list(rings) if kind == "Polygon" else rings[0]
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def draw(folder, document, **settings):
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "a.b.geojson").write_text(text)
    return MaskFolder(folder=folder, **settings)


def truth(tissue, *boxes):
    """Return the mask pixels whose middles lie in boxes given in level-0 pixels."""
    y = (np.arange(tissue.shape[0]) + 0.5) * tissue.cell_height_l0
    x = (np.arange(tissue.shape[1]) + 0.5) * tissue.cell_width_l0
    mask = np.zeros(tissue.shape, bool)
    for left, top, right, bottom in boxes:
        mask |= np.outer((y > top) & (y < bottom), (x > left) & (x < right))
    return mask


def rim(mask):
    """Return which pixels lie within one of the edge of a mask."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))
    return (grown != cv2.erode(mask.astype(np.uint8), np.ones((3, 3)))).astype(bool)


@pytest.mark.parametrize(
    "picture",
    [
        quarter(),
        quarter() != 0,
        quarter().astype(np.uint16) * 300,
        np.dstack([quarter() * 0, quarter(), quarter() * 0]),
        np.dstack([quarter()] * 3 + [np.full((30, 40), 255, np.uint8)]),
        np.dstack([np.full((30, 40, 3), 200, np.uint8), quarter()]),
        np.dstack([quarter(), np.full((30, 40), 255, np.uint8)]),
    ],
    ids=["grey", "one bit", "16 bit", "colour", "opaque", "transparent", "grey and alpha"],
)
def test_pixels_that_are_neither_black_nor_transparent_are_tissue(tmp_path, picture):
    tissue = save(tmp_path, picture).tissue(SLIDE)
    assert (tissue.mask == (quarter() != 0)).all()
    assert (tissue.width_l0, tissue.height_l0) == (WIDTH, HEIGHT)


def test_a_fine_picture_is_brought_to_the_size_of_masks(tmp_path):
    tissue = save(tmp_path, quarter(1500, 2000)).tissue(SLIDE)
    assert tissue.shape == (94, 125)
    expected = truth(tissue, (WIDTH / 2, 0, WIDTH, HEIGHT / 2))
    assert (tissue.mask == expected)[~rim(expected)].all()


@pytest.mark.parametrize(("height", "width"), [(30, 40), (31, 40), (94, 125), (303, 402), (3, 4)])
def test_a_picture_in_proportion_is_taken(tmp_path, height, width):
    assert save(tmp_path, quarter(height, width)).tissue(SLIDE).tissue_fraction > 0.1


@pytest.mark.parametrize(("height", "width"), [(40, 30), (30, 50), (300, 420), (100, 100)])
def test_a_picture_of_another_shape_is_refused_with_both_sizes(tmp_path, height, width):
    with pytest.raises(SlideError, match=rf"4000 x 3000 px.*{width} x {height}"):
        save(tmp_path, quarter(height, width)).tissue(SLIDE)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_picture_is_an_error_of_its_slide(tmp_path, share):
    folder = save(tmp_path, np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8))
    path = tmp_path / "a.b.png"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SlideError, match=r"a\.b\.png is no sound PNG"):
        folder.tissue(SLIDE)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    folder = save(tmp_path, quarter())
    path = tmp_path / "a.b.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (200_000).to_bytes(4, "big") + (150_000).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(SlideError, match="30000000000 pixels"):
        folder.tissue(SLIDE)


def test_a_mask_that_cannot_be_read_is_an_error_of_its_slide(tmp_path):
    (tmp_path / "a.b.png").mkdir()
    with pytest.raises(SlideError, match="cannot be read"):
        MaskFolder(folder=tmp_path).tissue(SLIDE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: {"type": "FeatureCollection", "features": [one]},
        lambda one: [one],
        lambda one: one,
        lambda one: one["geometry"],
    ],
    ids=["collection", "list", "feature", "geometry"],
)
def test_every_form_of_geojson_gives_the_area_that_was_drawn(tmp_path, wrap):
    box = (700, 500, 2300, 1900)
    tissue = draw(tmp_path, wrap(feature(square(*box)))).tissue(SLIDE)
    expected = truth(tissue, box)
    assert tissue.shape == (94, 125)
    assert (tissue.mask == expected)[~rim(expected)].all()


def test_a_drawn_area_is_neither_shifted_nor_scaled(tmp_path):
    """Mean position and area: a mask that is off by half a pixel fails."""
    box = (650, 530, 2310, 1930)
    tissue = draw(tmp_path, feature(square(*box))).tissue(SLIDE)
    y, x = np.nonzero(tissue.mask)
    assert (x.mean() + 0.5) * tissue.cell_width_l0 == pytest.approx((650 + 2310) / 2, abs=12)
    assert (y.mean() + 0.5) * tissue.cell_height_l0 == pytest.approx((530 + 1930) / 2, abs=12)
    assert tissue.tissue_fraction * WIDTH * HEIGHT == pytest.approx(1660 * 1400, rel=0.05)


def test_holes_are_glass_and_do_not_cut_into_other_areas(tmp_path):
    outer, hole, island = (400, 400, 3600, 2600), (1000, 800, 3000, 2200), (1600, 1200, 2400, 1800)
    ring = feature(square(*outer), square(*hole))
    for document in ([ring, feature(square(*island))], [feature(square(*island)), ring]):
        tissue = draw(tmp_path, document).tissue(SLIDE)
        expected = truth(tissue, outer) & ~truth(tissue, hole) | truth(tissue, island)
        assert (tissue.mask == expected)[~rim(expected)].all()


def test_multipolygons_have_parts_and_holes(tmp_path):
    parts = [[square(0, 0, 800, 800), square(200, 200, 600, 600)], [square(2000, 0, 4000, 3000)]]
    tissue = draw(tmp_path, feature(parts, kind="MultiPolygon")).tissue(SLIDE)
    expected = truth(tissue, (0, 0, 800, 800), (2000, 0, 4000, 3000))
    expected &= ~truth(tissue, (200, 200, 600, 600))
    assert (tissue.mask == expected)[~rim(expected)].all()


def test_areas_that_leave_the_slide_are_cut_at_its_edge(tmp_path):
    far = feature(square(-1e12, -500, 1000, 1e12), square(-1e12, 1000, 500, 2000))
    tissue = draw(tmp_path, [far, feature(square(9000, 9000, 9100, 9100))]).tissue(SLIDE)
    expected = truth(tissue, (0, 0, 1000, 3000)) & ~truth(tissue, (0, 1000, 500, 2000))
    assert (tissue.mask == expected)[~rim(expected)].all()


def test_only_the_classes_that_were_asked_for_are_tissue(tmp_path):
    document = [
        feature(square(0, 0, 1000, 3000), name="Tumor"),
        feature(square(1000, 0, 2000, 3000), name="Stroma"),
        feature(square(2000, 0, 4000, 3000)),
    ]
    fractions = [
        draw(tmp_path, document, classes=classes).tissue(SLIDE).tissue_fraction
        for classes in ((), ("Tumor",), ("Tumor", "Stroma"))
    ]
    assert fractions == pytest.approx([1, 0.25, 0.5], abs=0.02)


def test_a_drawing_without_the_classes_says_which_it_has(tmp_path):
    folder = draw(tmp_path, feature(square(0, 0, 9, 9), name="Fat"), classes=("Tumor", "Stroma"))
    with pytest.raises(SlideError, match="areas of 'Fat' and none of 'Tumor', 'Stroma'"):
        folder.tissue(SLIDE)


def test_a_drawing_of_nothing_is_an_empty_mask(tmp_path):
    assert draw(tmp_path, {"type": "FeatureCollection", "features": []}).tissue(SLIDE).is_empty


def test_points_and_lines_are_left_out_and_said(tmp_path, caplog):
    dot = feature(kind="Polygon")
    dot["geometry"] = {"type": "MultiPoint", "coordinates": [[5, 5], [6, 6]]}
    line = feature(kind="Polygon")
    line["geometry"] = {"type": "LineString", "coordinates": [[5, 5], [900, 600]]}
    with caplog.at_level(logging.WARNING):
        tissue = draw(tmp_path, [dot, feature(square(0, 0, 2000, 3000)), line]).tissue(SLIDE)
    assert tissue.tissue_fraction == pytest.approx(0.5, abs=0.02)
    assert "2 points or lines" in caplog.text


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "cannot be used"),
        ("7", "no FeatureCollection"),
        ('{"type": "FeatureCollection"}', "no FeatureCollection"),
        ([{"type": "Feature", "geometry": None}], "feature 0 has no geometry"),
        ([{"type": "Feature", "geometry": {"type": "GeometryCollection"}}], "GeometryCollection"),
        (feature(square(0, 0, 1, 1)[:2]), "at least 3 points"),
        (feature([[0, "x"], [1, 1], [2, 2]]), "feature 0"),
        (feature([[0, None], [1, 1], [2, 2]]), "feature 0"),
        (feature([[0, 1], [1], [2, 2]]), "feature 0"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [1, 1]]]}', "no finite number"),
        ({"type": "Polygon", "coordinates": 5}, "no lists of rings"),
        ({"type": "MultiPolygon", "coordinates": [5]}, "no lists of rings"),
    ],
)
def test_what_is_no_drawing_of_areas_is_an_error_of_its_slide(tmp_path, document, reason):
    with pytest.raises(SlideError, match=reason):
        draw(tmp_path, document).tissue(SLIDE)


def test_text_in_another_encoding_is_an_error_of_its_slide(tmp_path):
    (tmp_path / "a.b.geojson").write_bytes(b'{"type": "\xff\xfe"}')
    with pytest.raises(SlideError, match="cannot be used"):
        MaskFolder(folder=tmp_path).tissue(SLIDE)


def test_thousands_of_areas_are_drawn_within_a_second(tmp_path):
    rng = np.random.default_rng(0)
    features = []
    for x, y in rng.integers(0, 2900, (4000, 2)).tolist():
        rings = [square(x, y, x + 60, y + 60), square(x + 20, y + 20, x + 40, y + 40)]
        features.append(feature(*rings))
    assert 0.2 < draw(tmp_path, features).tissue(SLIDE).tissue_fraction < 0.9


def test_a_slide_without_a_file_is_refused_with_both_names(tmp_path):
    folder = MaskFolder(folder=tmp_path)
    for ask in (folder.tissue, folder.content_key):
        with pytest.raises(SlideError, match=r"a\.b\.png nor .*a\.b\.geojson") as caught:
            ask(SLIDE)
        assert caught.value.path == "somewhere/a.b.svs"


def test_a_slide_without_a_file_gets_the_mask_of_the_fallback(tmp_path):
    folder = MaskFolder(folder=tmp_path, fallback=HSVTissueDetector())
    expected = HSVTissueDetector().tissue(SLIDE)
    assert (folder.tissue(SLIDE).mask == expected.mask).all()


def test_two_masks_of_one_slide_are_refused(tmp_path):
    save(tmp_path, quarter())
    folder = draw(tmp_path, feature(square(0, 0, 9, 9)))
    with pytest.raises(SlideError, match="two masks"):
        folder.tissue(SLIDE)


@pytest.mark.parametrize("classes", [("",), (3,)])
def test_classes_without_a_name_are_refused(tmp_path, classes):
    with pytest.raises((ConfigError, TypeError), match="classes"):
        MaskFolder(folder=tmp_path, classes=classes)


def test_a_mask_that_was_edited_is_not_taken_from_the_store(tmp_path):
    store = MaskStore(tmp_path / "store")
    fractions = []
    for value in (0, 1, 1, 0):
        folder = save(tmp_path, np.full((30, 40), value, np.uint8))
        fractions.append(store.tissue(SLIDE, folder).tissue_fraction)
    (tmp_path / "a.b.png").unlink()
    with_fallback = MaskFolder(folder=tmp_path, fallback=HSVTissueDetector())
    fractions.append(store.tissue(SLIDE, with_fallback).tissue_fraction)
    assert fractions == pytest.approx([0, 1, 1, 0, 0.25], abs=0.01)


def test_a_mask_folder_can_be_stored_with_a_run_and_read_back(tmp_path):
    folder = MaskFolder(folder=tmp_path, fallback=HSVTissueDetector(), classes=("Tumor",))
    again = from_plain(to_plain(folder))
    assert isinstance(again, MaskFolder)
    assert to_plain(again) == to_plain(folder)
    assert (again.tissue(SLIDE).mask == folder.tissue(SLIDE).mask).all()

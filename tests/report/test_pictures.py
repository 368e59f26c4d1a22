import base64
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.report.pictures import (
    MPP_COLOURS,
    PatchPlace,
    Tile,
    contact_sheet,
    mpp_colour,
    mpp_legend,
    picture,
    slide_overlay,
)


def noise(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(html):
    encoded = re.search(r"base64,([^\"]+)", html).group(1)
    pixels = np.frombuffer(base64.b64decode(encoded), dtype=np.uint8)
    return cv2.cvtColor(cv2.imdecode(pixels, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_png_carries_exact_pixels_and_jpeg_nearly():
    image = cv2.GaussianBlur(noise(64, 64), (15, 15), 0)
    np.testing.assert_array_equal(decoded(picture(image, "noise", encoding="png")), image)
    close = decoded(picture(image, "noise", encoding="jpeg", quality=95)).astype(int)
    assert np.abs(close - image).mean() < 3


def test_quality_is_heeded():
    coarse, fine = (picture(noise(64, 64), "noise", quality=quality) for quality in (10, 95))
    assert len(coarse) < len(fine)


def test_a_picture_says_its_size_and_what_it_shows():
    img = ElementTree.fromstring(
        picture(noise(), 'a "slide" <b>').replace(">", "/>", -1)[:-2] + "/>"
    )
    assert (img.get("width"), img.get("height")) == ("30", "20")
    assert img.get("alt") == 'a "slide" <b>'


@pytest.mark.parametrize("settings", [{"quality": 0}, {"quality": 101}])
def test_a_quality_out_of_range_is_refused(settings):
    with pytest.raises(ConfigError, match="quality="):
        picture(noise(), "noise", **settings)


def test_a_contact_sheet_has_every_tile_with_caption_and_verdict():
    sheet = contact_sheet(
        [
            Tile(image=noise(), caption="0.25 um/px", verdict="accepted"),
            Tile(image=noise(), caption="too <white>", verdict="rejected"),
            Tile(image=noise(), caption="view"),
        ]
    )
    assert sheet.count("<img") == 3
    assert re.findall(r'figure class="([^"]+)"', sheet) == [
        "tile accepted",
        "tile rejected",
        "tile",
    ]
    assert "too &lt;white&gt;" in sheet
    assert 'alt="rejected: too &lt;white&gt;"' in sheet


def test_large_tiles_are_shrunk_in_proportion_and_small_ones_left():
    large = contact_sheet([Tile(image=noise(400, 800), caption="large")], tile_px=50)
    assert decoded(large).shape == (50, 100, 3)
    small = contact_sheet([Tile(image=noise(8, 9), caption="small")], tile_px=50)
    assert decoded(small).shape == (8, 9, 3)
    with pytest.raises(ConfigError, match="tile_px=0"):
        contact_sheet([], tile_px=0)


@pytest.fixture
def slide():
    """A slide of 4000 x 2000 level-0 px whose right half is tissue, at two resolutions."""
    tissue = np.zeros((10, 20), dtype=bool)
    tissue[:, 10:] = True
    return np.full((100, 200, 3), 100, dtype=np.uint8), tissue


def test_outside_of_tissue_is_faded_and_its_edge_drawn(slide):
    drawn = slide_overlay(*slide, [], width_l0=4000)
    assert (drawn[50, 20:80] == 177).all()
    assert (drawn[50, 120:180] == 100).all()
    assert (drawn[50, 95:105] == (82, 48, 124)).all(axis=-1).any()
    assert (slide[0] == 100).all()


def test_a_patch_is_a_square_at_its_place_of_its_size_and_colour(slide):
    place = PatchPlace(x_l0=2800, y_l0=800, size_l0=400, mpp=0.5)
    drawn = slide_overlay(*slide, [place], width_l0=4000)
    red, green, blue = bytes.fromhex(mpp_colour(0.5)[1:])
    rows, columns = np.nonzero((drawn == (red, green, blue)).all(axis=-1))
    assert (columns.min(), columns.max()) == (140, 159)
    assert (rows.min(), rows.max()) == (40, 59)
    assert (drawn[50, 150] == 100).all()


def test_a_tiny_patch_and_one_beyond_the_edge_are_still_drawn(slide):
    places = [
        PatchPlace(x_l0=2800, y_l0=800, size_l0=1, mpp=0.25),
        PatchPlace(x_l0=3900, y_l0=1900, size_l0=800, mpp=2.0),
    ]
    drawn = slide_overlay(*slide, places, width_l0=4000)
    blue = tuple(bytes.fromhex(mpp_colour(0.25)[1:]))
    assert (drawn == blue).all(axis=-1).sum() >= 8
    assert (drawn[95:, 195:] == 0).all(axis=-1).any()


def test_small_patches_are_seen_over_large_ones_in_any_order(slide):
    places = [
        PatchPlace(x_l0=2800, y_l0=800, size_l0=100, mpp=0.25),
        PatchPlace(x_l0=2800, y_l0=800, size_l0=800, mpp=2.0),
    ]
    forwards = slide_overlay(*slide, places, width_l0=4000)
    np.testing.assert_array_equal(forwards, slide_overlay(*slide, places[::-1], width_l0=4000))
    assert tuple(forwards[40, 142]) == tuple(bytes.fromhex(mpp_colour(0.25)[1:]))


def test_a_magnification_has_one_colour_also_where_a_slide_delivers_it_a_little_off():
    assert [mpp_colour(mpp) for mpp in (0.25, 0.5, 1.0, 2.0)] == list(MPP_COLOURS[:4])
    assert mpp_colour(0.2528) == mpp_colour(0.25)
    assert mpp_colour(1.052) == mpp_colour(1.0)
    assert mpp_colour(0.1) == MPP_COLOURS[0]
    assert mpp_colour(64.0) == MPP_COLOURS[-1]


def test_the_legend_names_each_magnification_once_from_fine_to_coarse():
    legend = mpp_legend([1.0, 0.25, 1.0])
    assert re.findall(r"([\d.]+) \u00b5m/px", legend) == ["0.25", "1"]
    assert mpp_colour(1.0) in legend

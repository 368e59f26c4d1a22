import cv2
import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.filters import HSVPatchFilter, PatchFilter
from made_slides import VIOLET


class PatchFilterContract:
    """Give `patch_filter`, and `good` and `bad` images."""

    def test_good_patches_are_kept_and_bad_ones_are_not(
        self, patch_filter: PatchFilter, good: np.ndarray, bad: np.ndarray
    ) -> None:
        for _ in range(2):
            assert patch_filter.accept(good) is True
            assert patch_filter.accept(bad) is False

    def test_patches_stay_as_they_were(self, patch_filter: PatchFilter, good: np.ndarray) -> None:
        before = good.copy()
        patch_filter.accept(good)
        assert (good == before).all()


def patch(num_violet, num_pixels=100):
    pixels = np.full((num_pixels, 3), 255, np.uint8)
    pixels[:num_violet] = VIOLET
    return pixels.reshape(10, -1, 3)


class TestHSVPatchFilter(PatchFilterContract):
    @pytest.fixture
    def patch_filter(self):
        return HSVPatchFilter()

    @pytest.fixture
    def good(self):
        return patch(100)

    @pytest.fixture
    def bad(self):
        return patch(0)


@pytest.mark.parametrize("fraction", [0.01, 0.07, 0.29, 0.55, 0.57, 0.58, 0.6, 1.0])
def test_exactly_the_share_is_accepted_and_one_pixel_less_is_not(fraction):
    patch_filter = HSVPatchFilter(min_pixel_fraction=fraction)
    num_least = round(fraction * 100)
    assert patch_filter.accept(patch(num_least))
    assert not patch_filter.accept(patch(num_least - 1))


@pytest.mark.parametrize(("hue", "is_accepted"), [(89, False), (90, True), (179, True), (0, False)])
def test_the_ends_of_the_hue_range_belong_to_it(hue, is_accepted):
    # Of full saturation and value, so that the hue survives the way through RGB.
    rgb = cv2.cvtColor(np.full((8, 8, 3), (hue, 255, 255), np.uint8), cv2.COLOR_HSV2RGB)
    assert HSVPatchFilter().accept(rgb) == is_accepted


def test_the_ranges_are_those_that_are_set():
    green = np.full((8, 8, 3), (30, 200, 40), np.uint8)
    assert not HSVPatchFilter().accept(green)
    assert HSVPatchFilter(hue_range=(50, 70)).accept(green)


@pytest.mark.parametrize(
    "setting", [{"hue_range": (90, 200)}, {"min_pixel_fraction": 1.1}, {"val_range": (5, 4)}]
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        HSVPatchFilter(**setting)

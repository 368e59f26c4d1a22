import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eosin.backends import SyntheticBackend, read_patch
from eosin.backends.synthetic import decode_coordinates
from eosin.errors import ConfigError, MissingMppError, NoPlaceError
from eosin.geometry import MagnificationRule, level_window, mpp_window

RULE = MagnificationRule()


def slide_of(mpp, downsamples=(1.0, 4.0), mpp_y=None, width=4000, height=3000):
    backend = SyntheticBackend(
        width_l0=width, height_l0=height, downsamples=downsamples, mpp=mpp, mpp_y=mpp_y
    )
    return backend.open("made://slide")


def window_of(mpp, target, patch_size=256, rule=RULE, **slide):
    info = slide_of(mpp, **slide).info
    return mpp_window(info, target_mpp=target, patch_size=patch_size, rule=rule)


@pytest.mark.parametrize("level", [0, 1])
def test_a_patch_is_exactly_the_pixels_that_were_asked_for(level):
    slide = slide_of(0.25)
    window = level_window(slide.info, level=level, patch_size=64)
    x, y = decode_coordinates(read_patch(slide, window.at(slide.info, 123, 77)))
    at = np.arange(64) * 4**level
    assert (x == 123 + at[None, :]).all()
    assert (y == 77 + at[:, None]).all()


def test_a_shrunk_patch_covers_the_same_field_as_its_pixels():
    slide = slide_of(0.25)
    window = window_of(0.25, 0.5, patch_size=64)
    x, y = decode_coordinates(read_patch(slide, window.at(slide.info, 10, 20)))
    middle = np.arange(64) * 2 + 0.5
    assert abs(x - (10 + middle)[None, :]).max() <= 0.5
    assert abs(y - (20 + middle)[:, None]).max() <= 0.5


def test_an_enlarged_patch_covers_the_same_field_as_its_pixels():
    slide = slide_of(0.5)
    window = window_of(0.5, 0.25, patch_size=128, rule=MagnificationRule(no_level="upsample"))
    x, _ = decode_coordinates(read_patch(slide, window.at(slide.info, 10, 20)))
    middle = (np.arange(128) + 0.5) / 2 - 0.5
    assert abs(x - (10 + middle)[None, :])[:, 1:-1].max() <= 0.5


def test_a_magnification_within_the_tolerance_is_read_as_it_is():
    window = window_of(0.2525, 0.25)
    assert (window.level, window.read_width, window.read_height) == (0, 256, 256)
    assert window.mpp == pytest.approx(0.2525)


def test_a_level_a_little_too_coarse_is_enlarged_to_the_target():
    window = window_of(0.263, 0.25)
    assert window.level == 0
    assert window.read_width == 243 == round(256 * 0.25 / 0.263)
    assert window.mpp == pytest.approx(0.25, rel=2e-3)


def test_the_coarsest_level_that_can_give_the_target_is_read():
    window = window_of(0.263, 1.0)
    assert window.level == 1
    assert window.read_width == round(256 / 1.052)


@pytest.mark.parametrize(("target", "level"), [(0.25, 0), (0.5, 0), (1.0, 1), (2.0, 1), (4.0, 2)])
def test_an_ordinary_pyramid_gives_each_target_from_the_right_level(target, level):
    window = window_of(0.25, target, downsamples=(1.0, 4.0, 16.0))
    assert window.level == level
    assert window.mpp == pytest.approx(target)


def test_a_target_finer_than_every_level_is_left_out():
    assert window_of(0.5, 0.25) is None


def test_a_target_finer_than_every_level_is_enlarged_when_that_is_allowed():
    window = window_of(0.5, 0.25, rule=MagnificationRule(no_level="upsample"))
    assert (window.level, window.read_width, window.patch_size) == (0, 128, 256)
    assert window.mpp == pytest.approx(0.25)


def test_a_target_finer_than_every_level_may_be_delivered_as_the_nearest():
    window = window_of(0.5, 0.25, rule=MagnificationRule(no_level="nearest"))
    assert (window.level, window.read_width) == (0, 256)
    assert window.mpp == pytest.approx(0.5)


def test_axes_of_different_resolution_are_resampled_each():
    window = window_of(0.25, 0.5, mpp_y=0.2)
    assert (window.read_width, window.read_height) == (512, 640)
    assert window.mpp == pytest.approx(0.5)


def test_axes_that_are_within_the_tolerance_only_on_average_are_resampled():
    window = window_of(0.225, 0.25, mpp_y=0.275)
    assert (window.read_width, window.read_height) == (284, 233)


def test_a_slide_without_mpp_is_refused_with_advice():
    info = slide_of(None).info
    with pytest.raises(MissingMppError, match=r"made://slide.*mpp-overrides"):
        mpp_window(info, target_mpp=0.5, patch_size=256, rule=RULE)


def test_a_level_that_a_slide_does_not_have_is_no_place():
    with pytest.raises(NoPlaceError, match="levels 0 to 1 and level 2"):
        level_window(slide_of(0.25).info, level=2, patch_size=64)


@pytest.mark.parametrize(
    "setting",
    [
        {"max_upsample": 0.9},
        {"max_upsample": float("nan")},
        {"mpp_tolerance": -0.1},
        {"mpp_tolerance": 1.0},
    ],
)
def test_rules_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        MagnificationRule(**setting)


@given(
    mpp=st.floats(0.1, 1.0),
    stretch=st.floats(0.9, 1.1),
    downsamples=st.lists(st.floats(1.5, 5.0), max_size=4),
    target=st.floats(0.1, 16.0),
    patch_size=st.integers(16, 512),
)
def test_the_field_of_view_is_the_delivered_one_within_a_pixel(
    mpp, stretch, downsamples, target, patch_size
):
    slide = slide_of(mpp, tuple(np.cumprod([1.0, *downsamples]).tolist()), mpp * stretch)
    window = mpp_window(slide.info, target_mpp=target, patch_size=patch_size, rule=RULE)
    assume(window is not None)
    level = slide.info.mpp_at(window.level)
    field_um = (window.width_l0 * mpp, window.height_l0 * mpp * stretch)
    is_resampled = (window.read_width, window.read_height) != (patch_size, patch_size)
    if is_resampled:
        assert abs(field_um[0] - patch_size * target) <= 0.51 * level.x
        assert abs(field_um[1] - patch_size * target) <= 0.51 * level.y
        assert abs(window.mpp - target) * patch_size <= 0.51 * level.mean
    else:
        # As it is, because both axes are within the tolerance, or round to the same pixels.
        assert all(abs(m / target - 1) <= 0.02 + 0.51 / patch_size for m in level)
    assert window.mpp * patch_size == pytest.approx(sum(field_um) / 2)
    finer = [n for n, _ in enumerate(slide.info.levels) if n > window.level]
    assert not any(slide.info.mpp_at(n).mean <= target * RULE.max_upsample for n in finer)

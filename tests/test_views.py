import json
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eosin.errors import ConfigError, InputError
from eosin.transforms import ComposeTransforms, RandomFlipRotate, ResizeTransform
from eosin.views import (
    CropBox,
    DeferredViews,
    RandomResizedCrop,
    ViewConfig,
    check_views,
    draw_views,
    replay_views,
    resampling,
)
from transforms.transform_contract import TransformContract, noise


class TestCrop(TransformContract):
    size = 16

    @pytest.fixture
    def transform(self):
        return RandomResizedCrop(size=16, scale=(0.1, 0.6))


shares = st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(lambda s: tuple(sorted(s)))
ratios = st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)).map(lambda r: tuple(sorted(r)))


@given(
    scale=shares,
    ratio=ratios,
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    seed=st.integers(0, 99),
)
def test_a_box_lies_in_the_image(scale, ratio, width, height, seed):
    crop = RandomResizedCrop(size=8, scale=scale, ratio=ratio)
    box = crop.draw_box(np.random.default_rng(seed), width=width, height=height)
    assert box.width >= 1
    assert box.height >= 1
    assert 0 <= box.x <= width - box.width
    assert 0 <= box.y <= height - box.height


@given(scale=shares, seed=st.integers(0, 999))
def test_a_box_has_the_area_and_shape_that_were_asked_for(scale, seed):
    side, ratio = 256, (3 / 4, 4 / 3)
    box = RandomResizedCrop(size=8, scale=scale).draw_box(
        np.random.default_rng(seed), width=side, height=side
    )
    # Each side is rounded by half a pixel at most. A box that fits nowhere is the whole image.
    slack = (box.width + box.height) / 2 + 0.25
    is_whole = box == CropBox(0, 0, side, side)
    assert is_whole or scale[0] * side**2 - slack <= box.width * box.height
    assert is_whole or box.width * box.height <= scale[1] * side**2 + slack
    assert (box.width - 0.5) / (box.height + 0.5) <= ratio[1]
    assert (box.width + 0.5) / (box.height - 0.5) >= ratio[0]


def test_boxes_are_spread_over_area_and_log_shape():
    crop = RandomResizedCrop(size=8, scale=(0.05, 0.32))
    boxes = [
        crop.draw_box(np.random.default_rng(seed), width=1000, height=1000) for seed in range(2000)
    ]
    areas = np.array([box.width * box.height for box in boxes]) / 1e6
    shapes = np.array([math.log(box.width / box.height) for box in boxes])
    middle = np.array([box.x + box.width / 2 for box in boxes])
    assert np.quantile(areas, [0.25, 0.5, 0.75]) == pytest.approx([0.1175, 0.185, 0.2525], abs=0.01)
    assert np.quantile(shapes, [0.25, 0.5, 0.75]) == pytest.approx([-0.144, 0, 0.144], abs=0.02)
    assert middle.mean() == pytest.approx(500, abs=15)


def test_an_image_of_impossible_shape_gives_its_largest_allowed_middle():
    crop = RandomResizedCrop(size=8, scale=(1.0, 1.0))
    box = crop.draw_box(np.random.default_rng(0), width=300, height=30)
    assert box == CropBox(130, 0, 40, 30)


def test_a_crop_is_the_box_resized():
    image = noise(64, 128)
    crop = RandomResizedCrop(size=20, scale=(0.3, 0.3), ratio=(1.0, 1.0))
    box = crop.draw_box(np.random.default_rng(2), width=128, height=64)
    flat = image.copy()
    flat[box.y : box.y + box.height, box.x : box.x + box.width] = (10, 20, 30)
    assert (crop.apply(flat, np.random.default_rng(2)) == (10, 20, 30)).all()


@pytest.mark.parametrize(
    "setting",
    [
        {"size": 0},
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 0.4)},
        {"scale": (0.5, 1.1)},
        {"ratio": (2.0, 1.0)},
        {"ratio": (0.0, 1.0)},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        RandomResizedCrop(**{"size": 8, **setting})


def test_views_are_numbered_when_there_are_several():
    crop = RandomResizedCrop(size=8)
    assert ViewConfig(name="global", crop=crop, count=2).names == ("global_0", "global_1")
    assert ViewConfig(name="whole").names == ("whole",)


def test_a_view_is_its_crop_and_then_its_transforms():
    view = ViewConfig(name="a", crop=RandomResizedCrop(size=8), transforms=RandomFlipRotate())
    rng = np.random.default_rng(3)
    by_hand = view.transforms.apply(view.crop.apply(noise(), rng), rng)
    assert (view.apply(noise(), np.random.default_rng(3)) == by_hand).all()
    assert (ViewConfig(name="whole").apply(noise(), rng) == noise()).all()


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "a", "count": 0}, "view 'a': count=0"),
        ({"name": "a", "count": 2}, "its views would be the same"),
    ],
)
def test_views_that_make_no_sense_are_refused(settings, what):
    with pytest.raises(ConfigError, match=what):
        ViewConfig(**settings)


def test_views_that_would_overwrite_each_other_are_refused():
    crop = RandomResizedCrop(size=8)
    with pytest.raises(ConfigError, match="named a_1 twice"):
        check_views([ViewConfig(name="a", crop=crop, count=2), ViewConfig(name="a_1")])
    with pytest.raises(ConfigError, match="views is empty"):
        check_views([])


def test_views_are_drawn_one_after_another_from_one_generator():
    shared = ComposeTransforms(transforms=(RandomFlipRotate(), ResizeTransform(target_size=30)))
    views = (
        ViewConfig(
            name="a", crop=RandomResizedCrop(size=8), transforms=RandomFlipRotate(), count=2
        ),
        ViewConfig(name="b"),
    )
    rng = np.random.default_rng(6)
    patch = shared.apply(noise(40, 50), rng)
    by_hand = {name: view.apply(patch, rng) for view in views for name in view.names}
    drawn = draw_views(np.random.default_rng(6), shared, views, width=50, height=40)
    replayed = replay_views(noise(40, 50), json.loads(json.dumps(drawn)), shared, views)
    assert list(replayed) == ["a_0", "a_1", "b"]
    assert all((replayed[name] == by_hand[name]).all() for name in by_hand)


def test_parameters_of_something_else_are_refused_with_advice():
    crop = RandomResizedCrop(size=8)
    with pytest.raises(InputError, match="no list of numbers 'box'"):
        crop.replay(noise(), {"alpha": 1.0})
    two = ComposeTransforms(transforms=(crop, crop))
    with pytest.raises(InputError, match="parameters of 1 steps"):
        two.replay(noise(), {"steps": [{"box": [0, 0, 1, 1]}]})


@pytest.mark.parametrize(
    ("side", "method"),
    [(60, "cubic"), (98, "cubic"), (110, "cubic"), (122, "cubic"), (124, "halved"), (150, "halved"),
     (190, "halved"), (200, "area"), (256, "area")],
)  # fmt: skip
def test_a_crop_is_near_antialiased_bicubic_and_no_farther_than_an_area_average(side, method):
    image = cv2.GaussianBlur(noise(side, side), (0, 0), 1.0)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    wanted = torch.nn.functional.interpolate(pixels, (98, 98), mode="bicubic", antialias=True)

    def error(result):
        return float((torch.from_numpy(result) - wanted[0].permute(1, 2, 0)).pow(2).mean().sqrt())

    assert resampling(side, side, 98) == method
    ours = RandomResizedCrop(size=98).replay(image, {"box": [0, 0, side, side]})
    average = cv2.resize(image, (98, 98), interpolation=cv2.INTER_AREA)
    assert error(ours) < 2.5
    assert error(ours) <= error(average)


def test_a_box_that_is_narrower_than_the_crop_is_enlarged_along_both_axes():
    assert resampling(90, 400, 98) == "cubic"
    assert resampling(400, 90, 98) == "cubic"


DEFERRED = DeferredViews(
    shared=RandomFlipRotate(),
    views=(ViewConfig(name="a", crop=RandomResizedCrop(size=8), count=3),),
)


class TestDeferredViews(TransformContract):
    @pytest.fixture
    def transform(self):
        return DEFERRED


def test_views_that_are_deferred_are_drawn_as_if_they_were_not():
    drawn = DEFERRED.draw(np.random.default_rng(4), width=50, height=40)
    now = draw_views(np.random.default_rng(4), DEFERRED.shared, DEFERRED.views, width=50, height=40)
    assert drawn == now
    assert (DEFERRED.replay(noise(40, 50), drawn) == noise(40, 50)).all()
    assert sorted(drawn["views"]) == ["a_0", "a_1", "a_2"]

"""Colour transforms against PIL, which torchvision's transforms call for PIL images."""

import colorsys
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import kstest, uniform

from eosin.errors import ConfigError
from eosin.transforms import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HEDColorAugmentation,
    NormalizeTransform,
    RandomApply,
    ResizeTransform,
    Solarize,
)
from eosin.transforms.jitter import change_colour
from transforms.transform_contract import TransformContract, noise


class TestJitter(TransformContract):
    @pytest.fixture
    def transform(self):
        return ColorJitter()


class TestGrayscale(TransformContract):
    @pytest.fixture
    def transform(self):
        return Grayscale()


class TestBlur(TransformContract):
    @pytest.fixture
    def transform(self):
        return GaussianBlur()


class TestSolarize(TransformContract):
    @pytest.fixture
    def transform(self):
        return Solarize()


class TestSometimes(TransformContract):
    @pytest.fixture
    def transform(self):
        return RandomApply(transform=HEDColorAugmentation(sigma=0.2), p=0.5)


class TestSometimesResized(TransformContract):
    size = 24

    @pytest.fixture
    def transform(self):
        return RandomApply(transform=ResizeTransform(target_size=24), p=1.0)


def by_pil(image, change):
    return np.asarray(change(Image.fromarray(image))).astype(int)


ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


@pytest.mark.parametrize("name", ENHANCERS)
@given(amount=st.floats(0.5, 1.5), seed=st.integers(0, 99), dark=st.booleans())
def test_a_change_of_colour_is_pils_within_one_grey_level(name, amount, seed, dark):
    image = noise(seed=seed) // (4 if dark else 1)
    image[0], image[1] = 0, 255
    pils = by_pil(image, lambda picture: ENHANCERS[name](picture).enhance(amount))
    assert abs(change_colour(image, name, amount) - pils).max() <= 1


def by_hsv(image, turn):
    turned = [
        colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        for hue, saturation, value in (colorsys.rgb_to_hsv(*p) for p in image.reshape(-1, 3) / 255)
    ]
    return 255 * np.array(turned).reshape(image.shape)


@given(turn=st.floats(-1 / 6, 1 / 6), seed=st.integers(0, 99))
def test_a_turn_of_the_hue_is_the_hsv_formula_within_one_grey_level(turn, seed):
    image = noise(12, 12, seed=seed)
    image[0, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [7, 7, 7]]
    assert abs(change_colour(image, "hue", turn) - by_hsv(image, turn)).max() <= 1 + 1e-9


def test_grey_is_pils_luma_within_one_level():
    pils = by_pil(noise(), lambda picture: picture.convert("L"))
    result = Grayscale()(noise())
    assert abs(result - pils[..., None]).max() <= 1
    assert (result == result[..., :1]).all()


@pytest.mark.parametrize("threshold", [0, 1, 128, 255, 256])
def test_solarizing_is_pils(threshold):
    pils = by_pil(noise(), lambda picture: ImageOps.solarize(picture, threshold))
    assert (Solarize(threshold=threshold)(noise()) == pils).all()


def by_torch(image, sigma, size=9):
    """Return torchvision's blur of a tensor, in single precision."""
    reach = torch.linspace(-(size - 1) / 2, (size - 1) / 2, size)
    weights = torch.exp(-0.5 * (reach / sigma) ** 2)
    weights /= weights.sum()
    kernel = torch.outer(weights, weights).expand(3, 1, size, size)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    padded = torch.nn.functional.pad(pixels, [size // 2] * 4, mode="reflect")
    blurred = torch.nn.functional.conv2d(padded, kernel, groups=3)
    return blurred[0].permute(1, 2, 0).numpy()


@given(sigma=st.floats(0.1, 2.0), seed=st.integers(0, 99))
def test_a_blur_is_torchvisions_within_one_grey_level(sigma, seed):
    image = noise(seed=seed)
    ours = GaussianBlur().replay(image, {"sigma": sigma})
    assert abs(ours - by_torch(image, sigma)).max() <= 0.75


def test_jitter_makes_its_four_changes_in_the_drawn_order():
    transform = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    drawn = transform.draw(np.random.default_rng(1), width=40, height=40)
    by_hand = noise()
    for number in drawn["order"]:
        name = ("brightness", "contrast", "saturation", "hue")[number]
        by_hand = change_colour(by_hand, name, drawn[name])
    assert (transform.replay(noise(), drawn) == by_hand).all()
    assert sorted(drawn["order"]) == [0, 1, 2, 3]


def test_jitter_draws_its_factors_uniformly_and_every_order_alike():
    rng = np.random.default_rng(0)
    drawn = [ColorJitter().draw(rng, width=1, height=1) for _ in range(2000)]
    for name, middle, half in (
        ("brightness", 1, 0.4),
        ("contrast", 1, 0.4),
        ("saturation", 1, 0.2),
        ("hue", 0, 0.1),
    ):
        values = [each[name] for each in drawn]
        assert kstest(values, uniform(middle - half, 2 * half).cdf).pvalue > 0.01
    orders = [tuple(each["order"]) for each in drawn]
    assert len(set(orders)) == 24
    assert max(orders.count(order) for order in set(orders)) < 2 * 2000 / 24


def test_a_factor_never_turns_an_image_to_its_negative():
    drawn = [
        ColorJitter(brightness=3.0).draw(np.random.default_rng(seed), width=1, height=1)
        for seed in range(200)
    ]
    assert min(each["brightness"] for each in drawn) >= 0


def test_something_that_happens_sometimes_happens_as_often_as_it_says():
    transform = RandomApply(transform=Solarize(threshold=0), p=0.3)
    drawn = [transform.draw(np.random.default_rng(s), width=1, height=1) for s in range(2000)]
    assert np.mean([each["applied"] for each in drawn]) == pytest.approx(0.3, abs=0.03)
    assert (transform.replay(noise(), {"applied": False}) == noise()).all()
    applied = json.loads('{"applied": true, "drawn": {}}')
    assert (transform.replay(noise(), applied) == 255 - noise()).all()


@pytest.mark.parametrize("kind", [ColorJitter, GaussianBlur, Grayscale, Solarize])
def test_floats_are_refused_with_advice(kind):
    floats = NormalizeTransform(mean=(0.5,) * 3, std=(0.5,) * 3)(noise())
    with pytest.raises(ConfigError, match=f"{kind.__name__} works on uint8"):
        kind()(floats)


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        (ColorJitter, {"brightness": -0.1}, "brightness"),
        (ColorJitter, {"saturation": float("nan")}, "saturation"),
        (ColorJitter, {"contrast": float("inf")}, "contrast"),
        (ColorJitter, {"hue": 0.3}, "hue"),
        (GaussianBlur, {"kernel_size": 4}, "kernel_size"),
        (GaussianBlur, {"sigma": (0.0, 1.0)}, "sigma"),
        (GaussianBlur, {"sigma": (1.0, float("inf"))}, "sigma"),
        (Solarize, {"threshold": 300}, "threshold"),
        (RandomApply, {"transform": Solarize(), "p": 1.1}, "p=1.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(kind, settings, name):
    with pytest.raises(ConfigError, match=name):
        kind(**settings)

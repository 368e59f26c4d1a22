"""Flips, sizes, normalisation, and several in a row."""

import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.transforms import (
    ComposeTransforms,
    HEDColorAugmentation,
    NormalizeTransform,
    RandomFlipRotate,
    ResizeTransform,
)
from transforms.transform_contract import TransformContract, noise

HALF = NormalizeTransform(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class TestFlip(TransformContract):
    @pytest.fixture
    def transform(self):
        return RandomFlipRotate()


class TestShrink(TransformContract):
    size = 24

    @pytest.fixture
    def transform(self):
        return ResizeTransform(target_size=24)


class TestEnlarge(TransformContract):
    size = 70

    @pytest.fixture
    def transform(self):
        return ResizeTransform(target_size=70)


class TestNormalize(TransformContract):
    dtype = np.float32

    @pytest.fixture
    def transform(self):
        return HALF


class TestCompose(TransformContract):
    size = 24
    dtype = np.float32

    @pytest.fixture
    def transform(self):
        steps = [RandomFlipRotate(), HEDColorAugmentation(), ResizeTransform(target_size=24), HALF]
        return ComposeTransforms(transforms=steps)


def poses(transform, num=200):
    image = noise(5, 5)
    results = [transform.apply(image, np.random.default_rng(seed)) for seed in range(num)]
    return {result.tobytes() for result in results}


def all_poses():
    image = noise(5, 5)
    flipped = (image, image[:, ::-1])
    return {np.rot90(pose, turns).tobytes() for pose in flipped for turns in range(4)}


def test_flips_and_turns_give_all_eight_poses_and_nothing_else():
    assert poses(RandomFlipRotate()) == all_poses()


def test_flips_that_are_never_drawn_change_nothing():
    assert poses(RandomFlipRotate(p_hflip=0.0, p_vflip=0.0, p_rot90=0.0)) == {noise(5, 5).tobytes()}


def test_one_flip_alone_mirrors():
    flip = RandomFlipRotate(p_hflip=1.0, p_vflip=0.0, p_rot90=0.0)
    assert (flip(noise()) == noise()[:, ::-1]).all()
    flip = RandomFlipRotate(p_hflip=0.0, p_vflip=1.0, p_rot90=0.0)
    assert (flip(noise()) == noise()[::-1]).all()


def test_normalizing_maps_bytes_to_the_range_of_the_model():
    image = np.array([[[0, 51, 255]]], np.uint8)
    result = NormalizeTransform(mean=[0.5, 0.2, 0.25], std=[0.5, 0.1, 0.75])(image)
    assert result == pytest.approx(np.array([[[-1.0, 0.0, 1.0]]]), abs=1e-6)


def test_shrinking_averages_and_does_not_alias():
    board = np.indices((64, 64)).sum(0)[..., None].repeat(3, -1) % 2 * 254
    result = ResizeTransform(target_size=32)(board.astype(np.uint8))
    assert (result == 127).all()


def test_transforms_are_applied_in_order_from_one_generator():
    steps = (RandomFlipRotate(), HEDColorAugmentation())
    rng = np.random.default_rng(4)
    by_hand = steps[1].apply(steps[0].apply(noise(), rng), rng)
    composed = ComposeTransforms(transforms=steps).apply(noise(), np.random.default_rng(4))
    assert (composed == by_hand).all()


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        (RandomFlipRotate, {"p_rot90": 1.5}, "p_rot90"),
        (ResizeTransform, {"target_size": 0}, "target_size"),
        (NormalizeTransform, {"mean": (0.5,), "std": (0.5, 0.5, 0.5)}, "mean"),
        (NormalizeTransform, {"mean": (0.5,) * 3, "std": (0.5, 0.0, 0.5)}, "std"),
        (NormalizeTransform, {"mean": (0.5,) * 3, "std": (0.5, float("nan"), 0.5)}, "std"),
        (NormalizeTransform, {"mean": (0.5, float("inf"), 0.5), "std": (0.5,) * 3}, "mean"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(kind, settings, name):
    with pytest.raises(ConfigError, match=name):
        kind(**settings)

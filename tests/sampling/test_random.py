import numpy as np
import pytest

from eosin.errors import ConfigError, NoPlaceError
from eosin.sampling import RandomSampler
from sampling.sampler_contract import PatchSamplerContract, slide_and_tissue


class TestRandomAtAMagnification(PatchSamplerContract):
    @pytest.fixture
    def sampler(self):
        return RandomSampler(patch_size=64, target_mpp=1.0, tissue_threshold=0.6)


class TestRandomAtALevel(PatchSamplerContract):
    @pytest.fixture
    def sampler(self):
        return RandomSampler(patch_size=64, level=1, tissue_threshold=0.6)


def draw(sampler, **slide):
    info, tissue = slide_and_tissue(**slide)
    rng = np.random.default_rng(0)
    return sampler.place(rng, info, tissue, sampler.magnification(rng, info))


def test_a_level_is_read_as_it_is_and_its_mpp_delivered():
    at = draw(RandomSampler(patch_size=64, level=1))
    assert (at.level, at.read_width, at.mpp) == (1, 64, 1.0)


def test_a_target_is_made_exactly():
    at = draw(RandomSampler(patch_size=64, target_mpp=0.5))
    assert (at.level, at.read_width, at.mpp) == (0, 128, 0.5)


def test_a_target_that_no_level_gives_is_refused_with_advice():
    sampler = RandomSampler(target_mpp=0.25)
    with pytest.raises(NoPlaceError, match=r"has 0.5 um/px, too coarse for 0.25.*upsample"):
        draw(sampler, mpp=0.5)


def test_a_level_that_a_slide_does_not_have_is_refused():
    with pytest.raises(NoPlaceError, match="level 2 was asked for"):
        draw(RandomSampler(level=2))


@pytest.mark.parametrize(
    "setting",
    [
        {"patch_size": 0},
        {"num_patches": 0},
        {"num_patches": -2},
        {"tissue_threshold": 1.5},
        {"level": -1},
        {"target_mpp": 0.0},
        {"target_mpp": float("nan")},
        {"target_mpp": float("inf")},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        RandomSampler(**setting)

import numpy as np
import pytest
from scipy.stats import kstest

from eosin.errors import ConfigError, NoPlaceError
from eosin.geometry import MagnificationRule
from eosin.plain import from_plain, to_plain
from eosin.sampling import ContinuousMagnificationSampler
from eosin.sampling.density import cdf
from sampling.sampler_contract import PatchSamplerContract, slide_and_tissue


class TestContinuousMagnification(PatchSamplerContract):
    @pytest.fixture
    def sampler(self):
        return ContinuousMagnificationSampler(
            output_size=64, mpp_range=(0.25, 2.0), tissue_threshold=0.6
        )


def drawn(sampler, num=2000, **slide):
    info, _ = slide_and_tissue(**slide)
    rng = np.random.default_rng(1)
    return np.array([sampler.magnification(rng, info) for _ in range(num)])


@pytest.mark.parametrize("distribution", ["uniform", "maxavg"])
def test_magnifications_are_drawn_from_the_stated_density(distribution):
    sampler = ContinuousMagnificationSampler(distribution=distribution, lambda_maxavg=0.1)
    stated = np.vectorize(lambda mpp: cdf(distribution, (0.25, 2.0), 0.1, mpp))
    assert kstest(drawn(sampler), stated).pvalue > 0.01


def test_minmax_draws_both_ends_often_and_the_rest_uniformly_in_the_logarithm():
    found = drawn(ContinuousMagnificationSampler(distribution="minmax"))
    end = 1 / (2 + 2 * np.log(8))
    assert np.mean(found == 0.25) == pytest.approx(end, abs=0.03)
    assert np.mean(found == 2.0) == pytest.approx(end, abs=0.03)
    inner = np.log(found[(found > 0.25) & (found < 2.0)] / 0.25) / np.log(8)
    assert kstest(inner, "uniform").pvalue > 0.01


@pytest.mark.parametrize("distribution", ["uniform", "maxavg", "minmax"])
def test_on_a_coarse_slide_the_density_is_cut_off_where_its_levels_end(distribution):
    sampler = ContinuousMagnificationSampler(distribution=distribution)
    found = drawn(sampler, mpp=0.66)
    assert found.min() >= 0.6
    assert found.min() < 0.62
    whole = drawn(sampler, num=8000)
    inner = found[found < 2.0]
    expected = whole[(whole >= 0.6) & (whole < 2.0)]
    assert kstest(inner, expected).pvalue > 0.01


def test_every_magnification_that_is_drawn_is_delivered_to_half_a_pixel():
    sampler = ContinuousMagnificationSampler(output_size=100)
    info, tissue = slide_and_tissue()
    rng = np.random.default_rng(0)
    for _ in range(100):
        mpp = sampler.magnification(rng, info)
        at = sampler.place(rng, info, tissue, mpp)
        assert abs(at.mpp - mpp) * 100 <= info.mpp_at(at.level).mean * 0.5 + 1e-9
        assert at.patch_size == 100


def test_a_slide_that_is_too_coarse_for_the_range_is_refused():
    with pytest.raises(NoPlaceError, match=r"has 4 um/px, too coarse for 0.25 to 2"):
        drawn(ContinuousMagnificationSampler(), num=1, mpp=4.0)


def test_a_coarse_slide_gives_the_whole_range_when_enlarging_is_allowed():
    rule = MagnificationRule(no_level="upsample")
    assert drawn(ContinuousMagnificationSampler(rule=rule), mpp=4.0).min() < 0.26


def test_it_can_be_stored_and_read_back():
    sampler = ContinuousMagnificationSampler(distribution="minmax", mpp_range=(0.5, 1.0))
    assert from_plain(to_plain(sampler)) == sampler


@pytest.mark.parametrize(
    "setting",
    [
        {"output_size": 0},
        {"mpp_range": (2.0, 0.25)},
        {"mpp_range": (0.0, 1.0)},
        {"mpp_range": (0.25, float("inf"))},
        {"mpp_range": (0.25, float("nan"))},
        {"lambda_maxavg": 0.0},
        {"num_patches": 0},
        {"tissue_threshold": -0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        ContinuousMagnificationSampler(**setting)

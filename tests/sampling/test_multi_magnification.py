import numpy as np
import pytest
from scipy.stats import chisquare

from eosin.errors import ConfigError, NoPlaceError
from eosin.sampling import MultiMagnificationSampler
from sampling.sampler_contract import PatchSamplerContract, slide_and_tissue


class TestMultiMagnification(PatchSamplerContract):
    @pytest.fixture
    def sampler(self):
        return MultiMagnificationSampler(
            target_mpps=(0.5, 1.0, 2.0), patch_size=64, tissue_threshold=0.6
        )


def drawn_magnifications(sampler, num=400, **slide):
    info, _ = slide_and_tissue(**slide)
    return [sampler.magnification(np.random.default_rng(seed), info) for seed in range(num)]


def test_all_magnifications_are_drawn_alike():
    drawn = drawn_magnifications(MultiMagnificationSampler())
    counts = [drawn.count(mpp) for mpp in (0.25, 0.5, 1.0, 2.0)]
    assert sum(counts) == 400
    assert chisquare(counts).pvalue > 0.01


def test_magnifications_are_drawn_by_their_weights():
    sampler = MultiMagnificationSampler(target_mpps=(0.5, 1.0, 2.0), mpp_weights=(3.0, 0.0, 1.0))
    drawn = drawn_magnifications(sampler)
    assert 1.0 not in drawn
    assert chisquare([drawn.count(0.5), drawn.count(2.0)], [300, 100]).pvalue > 0.01


def test_a_quota_per_magnification_is_kept():
    # Virchow2's mix of 40x, 20x, 10x and 5x.
    sampler = MultiMagnificationSampler(mpp_weights=(20.0, 40.0, 20.0, 20.0))
    drawn = drawn_magnifications(sampler, num=1000)
    counts = [drawn.count(mpp) for mpp in sampler.target_mpps]
    assert chisquare(counts, [200, 400, 200, 200]).pvalue > 0.01


def test_a_target_without_a_level_leaves_its_share_to_the_others():
    drawn = drawn_magnifications(MultiMagnificationSampler(), mpp=0.5)
    assert 0.25 not in drawn
    assert chisquare([drawn.count(mpp) for mpp in (0.5, 1.0, 2.0)]).pvalue > 0.01


def test_a_slide_that_is_too_coarse_for_all_targets_is_refused():
    with pytest.raises(NoPlaceError, match=r"has 4 um/px, too coarse for 0.25, 0.5, 1, 2"):
        drawn_magnifications(MultiMagnificationSampler(), num=1, mpp=4.0)


def test_each_magnification_is_delivered_exactly():
    info, tissue = slide_and_tissue()
    sampler = MultiMagnificationSampler(patch_size=64)
    for mpp in sampler.target_mpps:
        at = sampler.place(np.random.default_rng(0), info, tissue, mpp)
        assert at.mpp == mpp
        assert at.read_width * info.mpp_at(at.level).x == pytest.approx(64 * mpp)


def test_lists_are_as_good_as_tuples():
    assert MultiMagnificationSampler(target_mpps=[0.5, 1.0]) == MultiMagnificationSampler(
        target_mpps=(0.5, 1.0)
    )


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"target_mpps": ()}, "target_mpps"),
        ({"target_mpps": (0.5, 0.5)}, "target_mpps"),
        ({"target_mpps": (0.5, -1.0)}, "target_mpps"),
        ({"target_mpps": (0.5, float("nan"))}, "target_mpps"),
        ({"target_mpps": (0.5, float("inf"))}, "target_mpps"),
        ({"mpp_weights": (1.0,)}, "mpp_weights"),
        ({"mpp_weights": (1.0, 1.0, 1.0, -1.0)}, "mpp_weights"),
        ({"mpp_weights": (1.0, 1.0, 1.0, float("nan"))}, "mpp_weights"),
        ({"mpp_weights": (1.0, 1.0, 1.0, float("inf"))}, "mpp_weights"),
        ({"mpp_weights": (0.0, 0.0, 0.0, 0.0)}, "mpp_weights"),
        ({"patch_size": 0}, "patch_size"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings, name):
    with pytest.raises(ConfigError, match=name):
        MultiMagnificationSampler(**settings)

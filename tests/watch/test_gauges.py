import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from eosin.losses.kde import kde_loss
from eosin.losses.sinkhorn import sinkhorn_knopp
from eosin.watch.gauges import (
    alpha_req,
    choice_gauges,
    cls_patch_cosine,
    spread_gauges,
    view_gauges,
)
from ranks import on_ranks

RNG = np.random.default_rng(3)


def random_tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape).astype(np.float32))


def with_spectrum(eigenvalues: np.ndarray, num_tiles: int = 300) -> torch.Tensor:
    """Make centred features whose covariance has these eigenvalues."""
    left = RNG.normal(size=(num_tiles, len(eigenvalues)))
    left, _ = np.linalg.qr(left - left.mean(axis=0))
    right, _ = np.linalg.qr(RNG.normal(size=(len(eigenvalues), len(eigenvalues))))
    return torch.from_numpy(left * np.sqrt(eigenvalues) @ right + 5.0)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_alpha_req_finds_the_exponent_of_a_power_law(alpha: float):
    features = with_spectrum(np.arange(1, 129) ** -alpha)
    assert alpha_req(features) == pytest.approx(alpha, rel=1e-6)


def test_alpha_req_is_the_weighted_fit_of_numpy():
    features = random_tensor(200, 60).double() * torch.linspace(0.2, 3, 60)
    eigenvalues = np.linalg.eigvalsh(np.cov(features.numpy().T))[::-1]
    ranks = np.arange(4, 61)
    # polyfit squares its weights.
    slope, _ = np.polyfit(np.log(ranks), np.log(eigenvalues[3:60]), 1, w=np.sqrt(1 / ranks))
    assert alpha_req(features) == pytest.approx(-slope, rel=1e-9)


def test_alpha_req_of_too_few_directions_is_no_number():
    assert math.isnan(alpha_req(torch.ones(50, 16)))
    assert math.isnan(alpha_req(random_tensor(50, 2) @ random_tensor(2, 16)))
    assert math.isnan(alpha_req(torch.full((50, 16), math.nan)))


def test_the_spread_of_features_is_that_of_scipy_and_sklearn():
    tokens = random_tensor(40, 12) + 0.5
    gauges = spread_gauges(tokens, kappa=5.0)
    wide = tokens.numpy().astype(np.float64)
    cosines = cosine_similarity(wide)
    assert gauges.mean_cosine == pytest.approx(cosines[~np.eye(40, dtype=bool)].mean(), rel=1e-9)
    singular = np.linalg.svd(wide, compute_uv=False)
    assert gauges.rankme == pytest.approx(math.exp(entropy(singular)), rel=1e-9)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    assert gauges.feature_std == pytest.approx(unit.std(axis=0, ddof=1).mean() * math.sqrt(12))
    density = np.log((np.exp(5.0 * cosines).sum(axis=1) - math.exp(5)) / 39).mean()
    assert gauges.kde == pytest.approx(density, rel=1e-9)


def test_the_density_is_the_loss_of_the_same_features():
    tokens = random_tensor(30, 6)
    expected = float(kde_loss(tokens, kappa=3.0))
    assert spread_gauges(tokens, kappa=3.0).kde == pytest.approx(expected, rel=1e-5)


def test_tiles_that_are_all_the_same_have_no_spread():
    gauges = spread_gauges(torch.full((20, 8), 2.0), kappa=5.0)
    assert gauges == pytest.approx((5.0, 1.0, 0.0, 1.0), abs=1e-6)


def test_features_that_are_not_finite_have_gauges_that_are_no_numbers():
    assert all(
        math.isnan(gauge) for gauge in spread_gauges(torch.full((4, 8), math.inf), kappa=5.0)
    )


def test_the_class_token_is_compared_with_each_patch():
    cls, patches = random_tensor(5, 8), random_tensor(5, 7, 8)
    expected = [
        cosine_similarity(one[None], many).mean()
        for one, many in zip(cls.numpy(), patches.numpy(), strict=True)
    ]
    assert cls_patch_cosine(cls, patches).numpy() == pytest.approx(np.array(expected), rel=1e-5)


def test_entropies_of_choices_are_those_of_scipy():
    logits = random_tensor(30, 11)
    sharp = np.exp(logits.numpy().astype(np.float64) / 0.5)
    sharp /= sharp.sum(axis=1, keepdims=True)
    gauges = choice_gauges(logits, temperature=0.5, is_balanced=False)
    assert gauges.entropy == pytest.approx(entropy(sharp, axis=1).mean(), rel=1e-5)
    assert gauges.mean_entropy == pytest.approx(entropy(sharp.mean(axis=0)), rel=1e-5)
    assert (sharp.max(axis=1) > 2 / 11).all()
    counts = np.bincount(logits.numpy().argmax(axis=1), minlength=11)
    assert gauges.prototype_share == np.count_nonzero(counts) / 11
    assert gauges.prototype_perplexity == pytest.approx(math.exp(entropy(counts)), rel=1e-5)


def test_a_teacher_that_says_the_same_of_all_tiles_has_two_equal_entropies():
    one_for_all = choice_gauges(
        random_tensor(1, 9).expand(20, 9), temperature=0.1, is_balanced=False
    )
    assert one_for_all.entropy == pytest.approx(one_for_all.mean_entropy, abs=1e-5)
    assert one_for_all.prototype_share == 1 / 9
    assert one_for_all.prototype_perplexity == pytest.approx(1)
    undecided = choice_gauges(torch.zeros(20, 9), temperature=0.1, is_balanced=False)
    assert undecided.entropy == pytest.approx(math.log(9))
    assert undecided.mean_entropy == pytest.approx(math.log(9))
    assert (undecided.prototype_share, undecided.prototype_perplexity) == (0, 1)


def scores(mean_cosine: float) -> torch.Tensor:
    """Make what 128 tiles with so much in common score 1,024 prototypes."""
    unit = functional.normalize
    common, own = unit(random_tensor(1, 64)), unit(random_tensor(128, 64))
    tokens = unit(math.sqrt(mean_cosine) * common + math.sqrt(1 - mean_cosine) * own)
    return tokens @ unit(random_tensor(1024, 64)).T


def test_what_tiles_have_in_common_hides_no_prototype_where_targets_are_balanced():
    logits = scores(mean_cosine=0.9)
    plain, balanced = (
        choice_gauges(logits, temperature=0.04, is_balanced=is_balanced)
        for is_balanced in (False, True)
    )
    assert plain.prototype_share < 0.15
    assert plain.prototype_perplexity < 10
    assert balanced.prototype_share > 0.8
    assert balanced.prototype_perplexity > 100
    assert balanced[:2] == plain[:2]


def test_tiles_that_are_all_but_the_same_use_no_prototypes_however_they_are_balanced():
    logits = scores(mean_cosine=0.9999)
    firsts = sinkhorn_knopp(logits, temperature=0.04).argmax(dim=-1)
    assert len(firsts.unique()) > 100
    gauges = choice_gauges(logits, temperature=0.04, is_balanced=True)
    assert gauges.prototype_share < 0.05
    assert gauges.prototype_perplexity < 5


def test_ranks_that_hold_the_same_scores_gauge_what_one_process_does():
    logits = scores(mean_cosine=0.8)
    alone = choice_gauges(logits, temperature=0.04, is_balanced=True)
    together = on_ranks(3, lambda _: choice_gauges(logits, temperature=0.04, is_balanced=True))
    for gauges in together:
        assert gauges == pytest.approx(alone, rel=1e-5)


def test_fewer_tiles_than_prototypes_can_use_as_many_as_there_are_tiles():
    gauges = choice_gauges(torch.eye(6, 50), temperature=0.1, is_balanced=False)
    assert gauges.prototype_share == 1
    assert gauges.prototype_perplexity == pytest.approx(6)


def test_agreement_of_views_is_that_of_sklearns_neighbours():
    first = random_tensor(60, 8)
    second = first + 0.6 * random_tensor(60, 8)
    gauges = view_gauges(first, second, num_neighbours=7)
    among_first = NearestNeighbors(metric="cosine").fit(first.numpy())
    nearest = among_first.kneighbors(second.numpy(), 1, return_distance=False)[:, 0]
    assert gauges.retrieval == pytest.approx((nearest == np.arange(60)).mean())
    assert 0 < gauges.retrieval < 1
    sets = [
        NearestNeighbors(metric="cosine").fit(view.numpy()).kneighbors(None, 7, False)
        for view in (first, second)
    ]
    shared = [len(set(a) & set(b)) / 7 for a, b in zip(*sets, strict=True)]
    assert gauges.overlap == pytest.approx(np.mean(shared))


def test_equal_views_agree_wholly_and_a_small_bank_lowers_the_number_of_neighbours():
    features = random_tensor(5, 8)
    assert view_gauges(features, 3 * features, num_neighbours=20) == (1.0, 1.0)

import itertools

import numpy as np
import pytest

from eosin.report.components import aligned, colours, principal_components, signed_by


def spread_tokens(num=500, dim=12, seed=0):
    """Return tokens whose variance is 9, 4, 1 along three random directions, and nothing else."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:, :3]
    hidden = rng.normal(size=(num, 3)) * np.array([3.0, 2.0, 1.0])
    return (hidden @ basis.T + 5.0).astype(np.float32), hidden


def test_components_are_those_of_the_singular_value_decomposition():
    tokens = np.random.default_rng(1).normal(size=(60, 8)) @ np.diag(np.arange(1.0, 9.0))
    scores, share = principal_components(tokens)
    left, singular, _ = np.linalg.svd(tokens - tokens.mean(axis=0), full_matrices=False)
    expected = left[:, :3] * singular[:3]
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-9)
    assert share == pytest.approx((singular[:3] ** 2).sum() / (singular**2).sum())


def test_three_directions_hold_all_of_three_directions():
    tokens, hidden = spread_tokens()
    scores, share = principal_components(tokens)
    assert share == pytest.approx(1.0, abs=1e-6)
    for component in range(3):
        assert abs(np.corrcoef(scores[:, component], hidden[:, component])[0, 1]) > 0.99


def test_any_order_and_sign_comes_back_to_that_of_the_reference():
    _, reference = spread_tokens()
    noisy = reference + np.random.default_rng(2).normal(size=reference.shape) * 0.1
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([-1.0, 1.0], repeat=3):
            back = aligned(noisy[:, list(order)] * np.array(signs), reference)
            np.testing.assert_array_equal(back, noisy)


def test_signs_rise_with_the_foreground():
    foreground = np.linspace(0, 1, 50)
    scores = np.stack([-foreground, foreground**2, -np.sqrt(foreground)], axis=1)
    turned = signed_by(scores, foreground)
    assert (turned[-1] > turned[0]).all()
    np.testing.assert_array_equal(np.abs(turned), np.abs(scores))


def test_colours_use_the_range_and_bear_an_outlier():
    scores = np.stack([np.linspace(-1, 1, 1000)] * 3, axis=1)
    scores[0] = 1e9
    rgb = colours(scores)
    assert rgb.min() == 0
    assert rgb.max() == 255
    assert 100 < np.median(rgb) < 155


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan])
def test_tokens_that_are_all_alike_or_no_numbers_are_grey(value):
    scores, share = principal_components(np.full((20, 4), value))
    assert share == 0
    assert (colours(scores) == 128).all()


def test_tokens_of_two_dimensions_have_no_third_component():
    scores, share = principal_components(np.random.default_rng(0).normal(size=(30, 2)))
    assert (scores[:, 2] == 0).all()
    assert share == pytest.approx(1.0)

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import linprog

from eosin.sampling.density import cdf, inverse_cdf

RANGE = (0.25, 2.0)
DENSITIES = ["uniform", "maxavg", "minmax"]


def overlap(x, y):
    return (np.minimum(x, y) / np.maximum(x, y)) ** 2


@pytest.mark.parametrize("distribution", DENSITIES)
def test_drawing_undoes_the_distribution_function(distribution):
    for share in np.linspace(0.2, 0.8, 13).tolist():
        mpp = inverse_cdf(distribution, RANGE, 0.1, share)
        assert RANGE[0] < mpp < RANGE[1]
        assert cdf(distribution, RANGE, 0.1, mpp) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("distribution", DENSITIES)
def test_draws_stay_in_the_range_and_reach_both_ends(distribution):
    ends = [inverse_cdf(distribution, RANGE, 1.0, share) for share in (0.0, 1.0)]
    assert ends == pytest.approx(RANGE)
    assert min(ends) >= RANGE[0]
    assert max(ends) <= RANGE[1]
    assert cdf(distribution, RANGE, 1.0, 0.1) == 0
    assert cdf(distribution, RANGE, 1.0, 3.0) == 1


@pytest.mark.parametrize("lambda_maxavg", [0.05, 1.0])
def test_maxavg_is_proportional_to_the_exponential_of_what_a_magnification_helps(lambda_maxavg):
    def density(x):
        helped = quad(lambda y: overlap(x, y), *RANGE, points=[x])[0]
        return np.exp(helped / lambda_maxavg)

    total = quad(density, *RANGE)[0]
    for mpp in (0.4, 0.8, 1.3, 1.8):
        expected = quad(density, RANGE[0], mpp)[0] / total
        assert cdf("maxavg", RANGE, lambda_maxavg, mpp) == pytest.approx(expected, abs=1e-6)


def test_maxavg_draws_the_middle_and_with_a_large_lambda_all_alike():
    shares = [
        cdf("maxavg", RANGE, 0.05, high) - cdf("maxavg", RANGE, 0.05, high - 0.35)
        for high in (0.6, 0.95, 1.3, 1.65, 2.0)
    ]
    assert max(shares[1:4]) > 2 * max(shares[0], shares[4])
    assert cdf("maxavg", RANGE, 1e6, 1.125) == pytest.approx(0.5, abs=1e-4)


def test_minmax_helps_every_magnification_alike():
    edges = np.geomspace(*RANGE, 2001)
    middles = np.sqrt(edges[1:] * edges[:-1])
    points = np.concatenate([[RANGE[0]], middles, [RANGE[1]]])
    end = 1 / (2 + 2 * np.log(8))
    masses = np.concatenate([[end], np.diff(edges_shares(edges)), [end]])
    assert masses.sum() == pytest.approx(1)
    signal = overlap(points[:, None], points[None, :]) @ masses
    assert signal == pytest.approx(2 * end, rel=1e-3)


def edges_shares(edges):
    inner = [cdf("minmax", RANGE, 1.0, edge) for edge in edges[1:]]
    return np.array([1 / (2 + 2 * np.log(8)), *inner])


def test_minmax_is_what_the_papers_linear_program_finds():
    # Largest t with K p >= t, p >= 0, sum p = 1, on a grid.
    points = np.geomspace(*RANGE, 121)
    kernel = overlap(points[:, None], points[None, :])
    num = len(points)
    found = linprog(
        np.append(np.zeros(num), -1.0),
        A_ub=np.column_stack([-kernel, np.ones(num)]),
        b_ub=np.zeros(num),
        A_eq=np.append(np.ones(num), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * num + [(None, None)],
    )
    end = 1 / (2 + 2 * np.log(8))
    assert -found.fun == pytest.approx(2 * end, rel=1e-3)
    # A grid's ends also stand for half a cell beside them.
    assert found.x[[0, num - 1]] == pytest.approx(end, abs=0.01)
    # Where it has converged it is log-uniform in between.
    thirds = [found.x[1:40].sum(), found.x[40:81].sum(), found.x[81:120].sum()]
    assert thirds == pytest.approx([(1 - 2 * end) / 3] * 3, abs=0.02)

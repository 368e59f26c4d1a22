"""Densities of magnification on a range a to b of um/px, drawn by inverting their distribution.

What a model learns at x um/px helps it at y um/px by the share of their fields that overlap,
K(x, y) = (min(x, y) / max(x, y))^2. A density p gives the signal S(y) = integral of K(x, y) p(x) dx
at y. Which p is best depends on what is asked of S:

uniform  p is constant.
maxavg   The mean of S plus lambda times the entropy of p is largest. So p(x) is proportional to
         exp(k(x) / lambda), where k(x), the integral of K(x, y) over y from a to b, is
         4x/3 - a^3 / (3x^2) - x^2/b: the middle of the range, which helps the most others.
minmax   The least S is largest. In u = ln(x), K is exp(-2 |u - v|), whose equilibrium is known: a
         point mass of w = 1 / (2 + 2 ln(b/a)) at either end and the rest uniform in u makes S the
         same everywhere, 2w. As K is symmetric, no p has a larger least S: its mean over this
         equilibrium is the equilibrium's mean over p, 2w.

Source: Möllers et al. 2026, arXiv:2601.02198 (the framework, maxavg eq. 10; minmax there is a
linear program on a grid, eq. 11, of which the above is the solution as the grid becomes fine).
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

Distribution = Literal["uniform", "maxavg", "minmax"]

_NUM_NODES = 4097


def inverse_cdf(
    distribution: Distribution, mpp_range: tuple[float, float], lambda_maxavg: float, share: float
) -> float:
    """Return the um/px that a share (0 to 1) of the draws does not exceed."""
    least, most = mpp_range
    if distribution == "uniform":
        return least + share * (most - least)
    if distribution == "minmax":
        end = _end_mass(mpp_range)
        return min(max(least * math.exp((share - end) / (2 * end)), least), most)
    nodes, cumulative = _maxavg_cdf(mpp_range, lambda_maxavg)
    return float(np.interp(share, cumulative, nodes))


def cdf(
    distribution: Distribution, mpp_range: tuple[float, float], lambda_maxavg: float, mpp: float
) -> float:
    """Return the share of draws below a um/px, without a point mass at it."""
    least, most = mpp_range
    if mpp <= least:
        return 0.0
    if distribution == "uniform":
        return min(1.0, (mpp - least) / (most - least))
    if distribution == "minmax":
        end = _end_mass(mpp_range)
        return end + 2 * end * math.log(mpp / least) if mpp <= most else 1.0
    nodes, cumulative = _maxavg_cdf(mpp_range, lambda_maxavg)
    return float(np.interp(mpp, nodes, cumulative))


def _end_mass(mpp_range: tuple[float, float]) -> float:
    return 1 / (2 + 2 * math.log(mpp_range[1] / mpp_range[0]))


@lru_cache(maxsize=16)
def _maxavg_cdf(
    mpp_range: tuple[float, float], lambda_maxavg: float
) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    least, most = mpp_range
    nodes = np.linspace(least, most, _NUM_NODES)
    helped = 4 * nodes / 3 - least**3 / (3 * nodes**2) - nodes**2 / most
    density = np.exp((helped - helped.max()) / lambda_maxavg)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return nodes, cumulative / cumulative[-1]

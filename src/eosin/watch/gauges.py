"""Numbers that show how rich a representation is, from features alone: no labels, no randomness.

They are of the features that are given, all on one process, where the losses of the same name look
at all processes.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from eosin.losses.sinkhorn import sinkhorn_knopp

FIRST_RANK, LAST_RANK = 4, 100
"""Eigenvalues that the power law is fitted to, counted from 1: the first few are no part of it, and
small samples say nothing of the last."""

MIN_RANKS = 3
"""A line through fewer eigenvalues is none."""

NEGLIGIBLE = 1e-12
"""Eigenvalues below this part of the largest are rounding."""

DECIDED = 2.0
"""A tile has chosen the prototype that it gives this many times what it gives one on average. With
less, noise has chosen: even tiles at a mean cosine of 0.9999 nearly all differ in the highest of
their balanced targets."""


class SpreadGauges(NamedTuple):
    """How far tiles are apart."""

    kde: float
    """Mean log-density of the normalized features, as `eosin.losses.kde.kde_loss`: `kappa` when all
    are the same, 0 when all are orthogonal."""
    mean_cosine: float
    """Of two different tiles; 1 when all are the same."""
    feature_std: float
    """Standard deviation of normalized features, mean over dimensions, times sqrt(dim): 0 when all
    are the same, 1 when they lie in all directions."""
    rankme: float
    """How many directions the features use: 1 when all are the same, at most the smaller of tiles
    and dim."""


def spread_gauges(features: Float[Tensor, "tiles dim"], *, kappa: float) -> SpreadGauges:
    """Return how far features are apart; NaN for all where some feature is not finite.

    Args:
        features: Of two tiles or more.
        kappa: Concentration of the kernel of the density.

    Source: RankMe, Garrido et al. 2023, arXiv:2210.02885.
    """
    wide = features.double()
    if not torch.isfinite(wide).all():
        # The singular values of such a matrix do not exist, and asking for them would raise.
        return SpreadGauges(math.nan, math.nan, math.nan, math.nan)
    n = len(wide)
    unit = functional.normalize(wide, dim=-1)
    cosines = unit @ unit.T
    log_kernel = (kappa * cosines).fill_diagonal_(-math.inf)
    singular = torch.linalg.svdvals(wide)
    return SpreadGauges(
        kde=float((log_kernel.logsumexp(dim=1) - math.log(n - 1)).mean()),
        mean_cosine=float((cosines.sum() - cosines.trace()) / (n * (n - 1))),
        feature_std=float(unit.std(dim=0).mean()) * unit.shape[1] ** 0.5,
        rankme=math.exp(_entropy(singular / singular.sum().clamp(min=NEGLIGIBLE))),
    )


def alpha_req(features: Float[Tensor, "tiles dim"]) -> float:
    r"""Return the exponent of the power law `eigenvalue_j ~ j^-alpha` of the features' covariance.

    About 1 goes with features that serve many tasks; far above it few directions carry all, below
    it the spectrum is as flat as noise. NaN where fewer than `MIN_RANKS` eigenvalues are left.

    The line is fitted to the logarithms with weights 1 / j, since ranks crowd on that scale.

    Source: Agrawal et al. 2022, "alpha-ReQ"; the weights are those of Stringer et al. 2019, whose
    fit they use.
    """
    wide = features.double()
    centred = wide - wide.mean(dim=0)
    if not torch.isfinite(centred).all():
        return math.nan
    eigenvalues = torch.linalg.svdvals(centred).square()
    eigenvalues = eigenvalues[eigenvalues > NEGLIGIBLE * eigenvalues[0]]
    values = eigenvalues[FIRST_RANK - 1 : LAST_RANK].log()
    if len(values) < MIN_RANKS:
        return math.nan
    ranks = torch.arange(FIRST_RANK, FIRST_RANK + len(values), dtype=torch.float64).to(values)
    weights = 1 / ranks
    x = ranks.log() - (weights * ranks.log()).sum() / weights.sum()
    return -float((weights * x * values).sum() / (weights * x * x).sum())


def cls_patch_cosine(
    cls_tokens: Float[Tensor, "tiles dim"], patch_tokens: Float[Tensor, "tiles patches dim"]
) -> Float[Tensor, " tiles"]:
    """Return the mean cosine of each tile's class token with its patch tokens."""
    cosines = functional.cosine_similarity(
        cls_tokens[:, None].float(), patch_tokens.float(), dim=-1
    )
    return cosines.mean(dim=1)


class ChoiceGauges(NamedTuple):
    """How a teacher chooses among prototypes."""

    entropy: float
    """Of the choice for one tile, mean over tiles, in nats; log of the prototypes at most."""
    mean_entropy: float
    """Of the choice averaged over all tiles; never below `entropy`, and equal to it when the choice
    is the same for every tile, whether that is one prototype or all alike."""
    prototype_share: float
    """Prototypes that some tile has chosen, of as many as could be; 0 when no tile has."""
    prototype_perplexity: float
    """Exponential of the entropy of what tiles have chosen: 1 when it is the same, or nothing."""


def choice_gauges(
    logits: Float[Tensor, "tiles prototypes"], *, temperature: float, is_balanced: bool
) -> ChoiceGauges:
    """Return how a teacher's scores of prototypes, sharpened, are spread.

    Args:
        logits: Scores of a bank of tiles, with the centre taken away where there is one.
        temperature: The teacher's.
        is_balanced: Whether the student's targets are scores after Sinkhorn-Knopp, which takes away
            what all tiles have in common. Prototypes are then counted in such targets; all
            processes must ask, with the same scores.
    """
    scaled = logits.float() / temperature
    log_choices = functional.log_softmax(scaled, dim=-1)
    choices = log_choices.exp()
    # Where all ranks hold the same rows, what is summed over ranks cancels.
    targets = sinkhorn_knopp(logits, temperature=temperature) if is_balanced else choices
    firsts = _chosen(targets)
    return ChoiceGauges(
        entropy=float(-(choices * log_choices).sum(dim=-1).mean()),
        mean_entropy=_entropy(choices.mean(dim=0)),
        prototype_share=int((firsts > 0).sum()) / min(logits.shape),
        prototype_perplexity=math.exp(_entropy(firsts / firsts.sum().clamp(min=1))),
    )


def _chosen(targets: Float[Tensor, "tiles prototypes"]) -> Int64[Tensor, " prototypes"]:
    """Return how many tiles have chosen each prototype."""
    num_prototypes = targets.shape[1]
    highest, first = targets.max(dim=-1)
    return torch.bincount(first[highest >= DECIDED / num_prototypes], minlength=num_prototypes)


class ViewGauges(NamedTuple):
    """How far two views of a tile stay together among other tiles."""

    retrieval: float
    """Share of tiles whose second view is nearer to their own first view than to that of any other
    tile; 1 / tiles by chance."""
    overlap: float
    """Share of a tile's k nearest other tiles that are the same among first views and among second
    views, mean over tiles; k / (tiles - 1) by chance."""


def view_gauges(
    first: Float[Tensor, "tiles dim"], second: Float[Tensor, "tiles dim"], *, num_neighbours: int
) -> ViewGauges:
    """Return how far the neighbours of two views agree, by cosine.

    Args:
        first: Features of one view of each tile.
        second: Of another view, in the same order.
        num_neighbours: k, lowered to the number of other tiles.
    """
    a, b = (functional.normalize(view.float(), dim=-1) for view in (first, second))
    own = torch.arange(len(a), device=a.device)
    found = (b @ a.T).argmax(dim=1)
    k = min(num_neighbours, len(a) - 1)
    # One row of marks a tile: where both views mark, they agree.
    marks = [_neighbour_marks(view, k) for view in (a, b)]
    return ViewGauges(
        retrieval=float((found == own).float().mean()),
        overlap=float((marks[0] & marks[1]).sum()) / (k * len(a)),
    )


def _neighbour_marks(unit: Tensor, k: int) -> Tensor:
    cosines = (unit @ unit.T).fill_diagonal_(-math.inf)
    marks = torch.zeros_like(cosines, dtype=torch.bool)
    return marks.scatter_(1, cosines.topk(k, dim=1).indices, value=True)


def _entropy(shares: Tensor) -> float:
    return float(-torch.xlogy(shares, shares).sum())

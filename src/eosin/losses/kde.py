"""The KDE regularizer: keep tokens from crowding, by the density that each finds around itself."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from eosin.losses.across import gather_over_ranks


def kde_loss(cls_tokens: Float[Tensor, "batch dim"], *, kappa: float) -> Float[Tensor, ""]:
    r"""Return the mean log-density of each token under a von Mises-Fisher kernel on the others.

        L = 1/n sum_i log( 1/(n-1) sum_{j != i} exp(kappa z_i . z_j) ),    z = x / |x|

    Up to a constant this is minus the entropy of the tokens, so that minimizing it spreads them
    over the sphere. Its value tells how far a collapse has gone: `kappa` when all tokens are the
    same, 0 when all are orthogonal, at least `-kappa / (n - 1)`.

    The others are those of all ranks, and each rank returns the mean over its own tokens. The
    gradient flows through the others as well: held constant, they would leave 0.8 of its length on
    two ranks and 0.6 on eight.

    Args:
        cls_tokens: Student class tokens, before the head, of one global crop of each image (so that
            two crops of one image do not push each other away); they are normalized here. As many
            on every rank.
        kappa: Concentration of the kernel; larger looks at nearer neighbours only.

    Raises:
        ValueError: If there are fewer than two tokens on all ranks together.

    Source: Wang and Isola 2020, arXiv:2005.10242 (minus the resubstitution entropy), with 1 / tau =
    kappa and without the pair of a token with itself; used in place of KoLeo by Karasikov et al.
    2025, arXiv:2504.05186.
    OpenMidnight f7d5a64 has the opposite sign, which pulls tokens together.
    """
    # In half precision the sum over a few hundred neighbours overflows.
    with torch.autocast(cls_tokens.device.type, enabled=False):
        z = functional.normalize(cls_tokens.float(), dim=-1)
        others, first_own = gather_over_ranks(z)
        n = len(others)
        if n < 2:
            raise ValueError(
                f"{n} token has no neighbour to take a density from; give at least two"
            )
        log_kernel = kappa * z @ others.T
        log_kernel.diagonal(first_own).fill_(-math.inf)
        log_density = torch.logsumexp(log_kernel, dim=1) - math.log(n - 1)
        return log_density.mean()

"""The KDE regularizer: keep tokens from crowding, by the density that each finds around itself."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def kde_loss(cls_tokens: Float[Tensor, "batch dim"], *, kappa: float) -> Float[Tensor, ""]:
    r"""Return the mean log-density of each token under a von Mises-Fisher kernel on the others.

        L = 1/n sum_i log( 1/(n-1) sum_{j != i} exp(kappa z_i . z_j) ),    z = x / |x|

    Up to a constant this is minus the entropy of the tokens, so that minimizing it spreads them
    over the sphere. Its value tells how far a collapse has gone: `kappa` when all tokens are the
    same, 0 when all are orthogonal, at least `-kappa / (n - 1)`.

    Args:
        cls_tokens: Student class tokens, before the head, of one global crop of each image (so that
            two crops of one image do not push each other away); they are normalized here.
        kappa: Concentration of the kernel; larger looks at nearer neighbours only.

    Raises:
        ValueError: If there are fewer than two tokens.

    Source: Wang and Isola 2020, arXiv:2005.10242 (minus the resubstitution entropy), with 1 / tau =
    kappa and without the pair of a token with itself; used in place of KoLeo by Karasikov et al.
    2025, arXiv:2504.05186.
    OpenMidnight f7d5a64 has the opposite sign, which pulls tokens together.
    """
    n = len(cls_tokens)
    if n < 2:
        raise ValueError(f"{n} token has no neighbour to take a density from; give at least two")
    # In half precision the sum over a few hundred neighbours overflows.
    with torch.autocast(cls_tokens.device.type, enabled=False):
        z = functional.normalize(cls_tokens.float(), dim=-1)
        log_kernel = kappa * z @ z.T
        log_kernel = log_kernel.fill_diagonal_(-math.inf)
        log_density = torch.logsumexp(log_kernel, dim=1) - math.log(n - 1)
        return log_density.mean()

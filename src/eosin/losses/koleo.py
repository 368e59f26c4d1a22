"""The KoLeo regularizer: push each token away from its nearest neighbour."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from eosin.losses.across import gather_over_ranks

_EPS = 1e-8


def koleo_loss(cls_tokens: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Return the mean of -log of the distance to the nearest other token of all ranks.

    Lower is more spread out. Nearly equal tokens give huge gradients; `kde_loss` does not. Each
    rank returns the mean over its own tokens.

    Args:
        cls_tokens: Student class tokens of one global crop of each image; normalized here. As many
            on every rank.

    Raises:
        ValueError: If there are fewer than two tokens on all ranks together.

    Source: Sablayrolles et al. 2018, arXiv:1806.03198; facebookresearch/dinov2 b8931f7,
    loss/koleo_loss.py, which looks for neighbours on a rank's own GPU only.
    """
    with torch.autocast(cls_tokens.device.type, enabled=False):
        z = functional.normalize(cls_tokens.float(), dim=-1, eps=_EPS)
        others, first_own = gather_over_ranks(z)
        if len(others) < 2:
            raise ValueError(f"{len(others)} token has no nearest neighbour; give at least two")
        with torch.no_grad():
            cosines = z @ others.T
            cosines.diagonal(first_own).fill_(-1)
            nearest = cosines.argmax(dim=1)
        distances = functional.pairwise_distance(z, others[nearest], eps=_EPS)
        return -torch.log(distances + _EPS).mean()

"""The KoLeo regularizer: push each token away from its nearest neighbour."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_EPS = 1e-8


def koleo_loss(cls_tokens: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Return the mean of -log of the distance to the nearest other token.

    Lower is more spread out. Nearly equal tokens give huge gradients; `kde_loss` does not.

    Args:
        cls_tokens: Student class tokens of one global crop of each image; normalized here.

    Raises:
        ValueError: If there are fewer than two tokens.

    Source: Sablayrolles et al. 2018, arXiv:1806.03198; facebookresearch/dinov2 b8931f7,
    loss/koleo_loss.py.
    """
    if len(cls_tokens) < 2:
        raise ValueError(f"{len(cls_tokens)} token has no nearest neighbour; give at least two")
    with torch.autocast(cls_tokens.device.type, enabled=False):
        z = functional.normalize(cls_tokens.float(), dim=-1, eps=_EPS)
        with torch.no_grad():
            nearest = (z @ z.T).fill_diagonal_(-1).argmax(dim=1)
        distances = functional.pairwise_distance(z, z[nearest], eps=_EPS)
        return -torch.log(distances + _EPS).mean()

"""From the teacher's scores to targets: Sinkhorn-Knopp, or softmax with a running centre.

Both keep the teacher from giving every sample the same prototype.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def sinkhorn_knopp(
    teacher_logits: Float[Tensor, "samples prototypes"],
    *,
    temperature: float,
    num_iterations: int = 3,
) -> Float[Tensor, "samples prototypes"]:
    """Return an assignment of samples to prototypes in which all prototypes are used alike.

    Every row sums to one; every column nearly to samples / prototypes, the nearer the more
    iterations. Order, and where the rows come from, do not matter.

    Args:
        teacher_logits: Scores of the prototypes, before the temperature.
        temperature: The teacher's.
        num_iterations: How often columns and rows are normalized in turn.

    Source: facebookresearch/dinov2 b8931f7, loss/dino_clstoken_loss.py. Its factors 1/K, 1/B and
    1/sum are left out here, because the next normalization cancels them.
    """
    logits = teacher_logits.float() / temperature
    if logits.numel() == 0:
        return logits
    # One common factor cancels too: with it, no exponential overflows.
    q = torch.exp(logits - logits.max())
    # A prototype far from every sample underflows to zeros, and shall stay zero instead of NaN.
    tiny = torch.finfo(q.dtype).tiny
    for _ in range(num_iterations):
        q /= q.sum(dim=0, keepdim=True).clamp(min=tiny)
        q /= q.sum(dim=1, keepdim=True).clamp(min=tiny)
    return q


@torch.no_grad()
def centered_softmax(
    teacher_logits: Float[Tensor, "samples prototypes"],
    *,
    center: Float[Tensor, " prototypes"],
    temperature: float,
) -> Float[Tensor, "samples prototypes"]:
    """Return probabilities after a running mean of the scores is taken away.

    Source: facebookresearch/dinov2 b8931f7, loss/dino_clstoken_loss.py.
    """
    return functional.softmax((teacher_logits.float() - center) / temperature, dim=-1)


@torch.no_grad()
def updated_center(
    center: Float[Tensor, " prototypes"],
    teacher_logits: Float[Tensor, "samples prototypes"],
    *,
    momentum: float = 0.9,
) -> Float[Tensor, " prototypes"]:
    """Return the running mean with this batch's scores in it, for the next step to use.

    It starts as zeros. The caller keeps it, also in checkpoints.

    Source: facebookresearch/dinov2 b8931f7, loss/dino_clstoken_loss.py.
    """
    return center * momentum + teacher_logits.float().mean(dim=0) * (1 - momentum)

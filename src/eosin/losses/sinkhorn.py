"""From the teacher's scores to targets: Sinkhorn-Knopp, or softmax with a running centre.

Both keep the teacher from giving every sample the same prototype, and look at the samples of all
ranks together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from eosin.losses.across import max_over_ranks, sum_over_ranks


@torch.no_grad()
def sinkhorn_knopp(
    teacher_logits: Float[Tensor, "samples prototypes"],
    *,
    temperature: float,
    num_iterations: int = 3,
) -> Float[Tensor, "samples prototypes"]:
    """Return an assignment of samples to prototypes in which all prototypes are used alike.

    Every row sums to one; every column, over all ranks, nearly to samples / prototypes, the nearer
    the more iterations. Order, and where the rows come from, do not matter.

    Args:
        teacher_logits: Scores of the prototypes, before the temperature; ranks may have unequal
            numbers of samples, or none.
        temperature: The teacher's.
        num_iterations: How often columns and rows are normalized in turn.

    Source: facebookresearch/dinov2 b8931f7, loss/dino_clstoken_loss.py. Its factors 1/K, 1/B and
    1/sum are left out here, because the next normalization cancels them.
    """
    logits = teacher_logits.float() / temperature
    # One common factor cancels too: with it, no exponential overflows. In place, for this is one
    # of the two largest tensors of a step.
    q = logits.sub_(max_over_ranks(_highest(logits))).exp_()
    # A prototype far from every sample underflows to zeros, and shall stay zero instead of NaN.
    tiny = torch.finfo(q.dtype).tiny
    for _ in range(num_iterations):
        q /= sum_over_ranks(q.sum(dim=0, keepdim=True)).clamp(min=tiny)
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


class ScoreTotals(NamedTuple):
    """What a part of a batch adds to the mean of the teacher's scores."""

    sums: Float[Tensor, " prototypes"]
    num_samples: int


def score_totals(teacher_logits: Float[Tensor, "samples prototypes"]) -> ScoreTotals:
    """Return the sums of this rank's scores, to be averaged by `updated_center`."""
    return ScoreTotals(teacher_logits.detach().float().sum(dim=0), len(teacher_logits))


@torch.no_grad()
def updated_center(
    center: Float[Tensor, " prototypes"],
    totals: Sequence[ScoreTotals],
    *,
    momentum: float = 0.9,
) -> Float[Tensor, " prototypes"]:
    """Return the running mean with this step's scores in it, for the next step to use.

    It starts as zeros. The caller keeps it, also in checkpoints. It moves once a step, towards the
    mean over all samples of all parts and ranks; without any sample it stays.

    Args:
        center: The running mean so far.
        totals: Of each part of this rank's batch.
        momentum: How much of the old mean stays.

    Source: facebookresearch/dinov2 b8931f7, loss/dino_clstoken_loss.py. Its iBOT centre is a mean
    of the ranks' means, which weighs ranks with few masked patches more.
    """
    sums = torch.stack([part.sums for part in totals]).sum(dim=0)
    num_samples = sum(part.num_samples for part in totals)
    # One message: the number of samples travels behind the sums. Up to 16 million it is exact.
    packed = sum_over_ranks(torch.cat([sums, sums.new_full((1,), num_samples)]))
    mean = packed[:-1] / packed[-1]
    return torch.where(packed[-1] > 0, center * momentum + mean * (1 - momentum), center)


def _highest(logits: Float[Tensor, "samples prototypes"]) -> Float[Tensor, ""]:
    return logits.max() if len(logits) else logits.new_tensor(-torch.inf)

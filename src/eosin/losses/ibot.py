"""The iBOT loss: behind mask tokens, predict what the teacher says of the hidden patches."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eosin.losses.cross_entropy import STUDENT_TEMPERATURE, soft_cross_entropy


def ibot_loss(
    student_logits: Float[Tensor, "masked prototypes"],
    targets: Float[Tensor, "masked prototypes"],
    masks: Bool[Tensor, "crops patches"],
    *,
    student_temperature: float = STUDENT_TEMPERATURE,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the masked patches: mean in each crop, then over all crops.

    Crops without a mask count in the second mean, as zeros.

    Args:
        student_logits: Scores of the masked patches alone, in the order of `masks.nonzero()`.
        targets: The teacher's probabilities for the same patches.
        masks: Which patches of which global crop were masked.
        student_temperature: Divides the student's scores.

    Source: facebookresearch/dinov2 b8931f7, loss/ibot_patch_loss.py.
    """
    per_patch = soft_cross_entropy(student_logits, targets, temperature=student_temperature)
    num_masked = masks.sum(dim=1)
    # The size is known, so that a GPU need not be asked for it.
    weights = torch.repeat_interleave(
        1 / num_masked.clamp(min=1), num_masked, output_size=len(per_patch)
    )
    return (per_patch * weights).sum() / len(masks)

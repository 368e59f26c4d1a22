"""The DINO loss: every crop predicts what the teacher says of the other global crops."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from eosin.losses.cross_entropy import STUDENT_TEMPERATURE, soft_cross_entropy


class DINOLosses(NamedTuple):
    """The two parts of the DINO loss; their sum is the mean over all pairs of views."""

    local_crops: Float[Tensor, ""]
    global_crops: Float[Tensor, ""]


def dino_loss(
    global_logits: Float[Tensor, "2 batch prototypes"],
    local_logits: Float[Tensor, "locals batch prototypes"],
    targets: Float[Tensor, "2 batch prototypes"],
    *,
    student_temperature: float = STUDENT_TEMPERATURE,
) -> DINOLosses:
    """Return the cross-entropies of all pairs of different views, over the number of pairs.

    A global crop is compared with the teacher's other global crop, a local crop with both: 2 + 2L
    pairs.

    Args:
        global_logits: The student's scores of the two global crops of each image.
        local_logits: The student's scores of the local crops; there may be none.
        targets: The teacher's probabilities for the same two global crops, in the same order.
        student_temperature: Divides the student's scores.

    Source: facebookresearch/dinov2 b8931f7, train/ssl_meta_arch.py.
    """
    num_pairs = 2 + 2 * len(local_logits)
    other_targets = targets.flip(0)
    global_terms = soft_cross_entropy(global_logits, other_targets, temperature=student_temperature)
    # Cross-entropy is linear in the target: the sum over both targets is one pass over the student.
    both_targets = targets.sum(dim=0).expand_as(local_logits)
    local_terms = soft_cross_entropy(local_logits, both_targets, temperature=student_temperature)
    batch = targets.shape[1]
    return DINOLosses(
        local_crops=local_terms.sum() / batch / num_pairs,
        global_crops=global_terms.sum() / batch / num_pairs,
    )

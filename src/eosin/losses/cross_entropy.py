"""The cross-entropy to a soft target, which DINO and iBOT share."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

STUDENT_TEMPERATURE = 0.1
"""Source: facebookresearch/dinov2 b8931f7, loss/dino_clstoken_loss.py."""


def soft_cross_entropy(
    student_logits: Float[Tensor, "*samples prototypes"],
    targets: Float[Tensor, "*samples prototypes"],
    *,
    temperature: float = STUDENT_TEMPERATURE,
) -> Float[Tensor, "*samples"]:
    """Return one cross-entropy a sample, in float32.

    Args:
        student_logits: Scores of the prototypes, before the temperature.
        targets: Probabilities, as from `sinkhorn_knopp`.
        temperature: The student's.
    """
    log_probabilities = functional.log_softmax(student_logits.float() / temperature, dim=-1)
    return -(targets * log_probabilities).sum(dim=-1)

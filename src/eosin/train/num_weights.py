"""How many parameters a run's networks have, from its numbers alone."""

from itertools import pairwise

from eosin.models.config import HeadConfig, ViTConfig
from eosin.train.config import TrainConfig


def num_weights(config: TrainConfig) -> int:
    """Return the number of parameters of the student: backbone and heads."""
    dim = config.model.embed_dim
    return num_backbone_weights(config.model) + sum(
        num_head_weights(head, dim) for head in heads_of(config)
    )


def heads_of(config: TrainConfig) -> tuple[HeadConfig, ...]:
    """Return the heads that the run builds."""
    if config.ibot_head is None or config.losses.ibot_weight == 0:
        return (config.dino_head,)
    return (config.dino_head, config.ibot_head)


def num_backbone_weights(model: ViTConfig) -> int:
    """Return the number of parameters of a vision transformer."""
    dim = model.embed_dim
    positions = 1 + model.grid_size**2
    tokens = positions + 1 + 1 + model.num_registers
    patch_embed = 3 * model.patch_size**2 * dim + dim
    return model.depth * _num_block_weights(model) + tokens * dim + patch_embed + 2 * dim


def num_head_weights(head: HeadConfig, embed_dim: int) -> int:
    """Return the number of parameters of a projection head."""
    widths = (embed_dim, head.hidden_dim, head.hidden_dim, head.bottleneck_dim)
    layers = sum((wide + 1) * narrow for wide, narrow in pairwise(widths))
    return layers + (head.bottleneck_dim + 1) * head.num_prototypes


def _num_block_weights(model: ViTConfig) -> int:
    dim, hidden = model.embed_dim, model.ffn_hidden_dim
    attention = 4 * dim * dim + 4 * dim
    inward = (dim + 1) * hidden * (1 if model.ffn == "mlp" else 2)
    return attention + inward + (hidden + 1) * dim + 4 * dim + 2 * dim

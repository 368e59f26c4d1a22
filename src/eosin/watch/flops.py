"""Floating-point operations of the matrix products of a step, counted from the sizes alone.

A product of (a, b) and (b, c) is 2abc. What else a step does (norms, softmax, AdamW, the target
assignment) is less than a hundredth of it and not counted, nor is what activation checkpointing
computes again: the counts are of what the step needs.
"""

from eosin.masking import BlockMasking
from eosin.models.config import HeadConfig, ViTConfig
from eosin.train.config import TrainConfig
from eosin.views import GLOBAL, LOCAL


def backbone_flops(config: ViTConfig, image_px: int) -> int:
    """Return the operations of one square image, forwards, without stochastic depth."""
    return _embed_flops(config, image_px) + _block_flops(config, image_px)


def head_flops(embed_dim: int, config: HeadConfig) -> int:
    """Return the operations of one token through a head, forwards."""
    hidden, bottleneck = config.hidden_dim, config.bottleneck_dim
    mlp = embed_dim * hidden + hidden * hidden + hidden * bottleneck
    return 2 * (mlp + bottleneck * config.num_prototypes)


def step_flops(config: TrainConfig) -> float:
    """Return the operations of one optimiser step over all devices.

    A backward pass is two products for each of the forward pass, but for the first map, whose
    pixels need no gradient. Stochastic depth leaves images out of blocks. Masked patches are
    counted as many as there are on average.
    """
    data, model, batch = config.data, config.model, config.global_batch
    kept = 1 - model.drop_path_rate
    sizes_px = [data.crop_size(GLOBAL)] * 2
    sizes_px += [data.crop_size(LOCAL)] * data.num_local if data.num_local else []
    student = sum(
        2 * _embed_flops(model, size) + 3 * kept * _block_flops(model, size) for size in sizes_px
    )
    teacher = 2 * backbone_flops(model, data.global_px)
    dino = (3 * len(sizes_px) + 2) * head_flops(model.embed_dim, config.dino_head)
    ibot_head = config.ibot_head or config.dino_head
    hidden = _masked_patches(config.masking, data.global_px // model.patch_size)
    hidden = hidden if config.losses.ibot_weight > 0 else 0.0
    ibot = 4 * 2 * hidden * head_flops(model.embed_dim, ibot_head)
    return batch * (student + teacher + dino + ibot)


def _embed_flops(config: ViTConfig, image_px: int) -> int:
    pixels = 3 * image_px**2
    return 2 * pixels * config.embed_dim


def _block_flops(config: ViTConfig, image_px: int) -> int:
    """Return the operations of all blocks for one image."""
    tokens = 1 + config.num_registers + (image_px // config.patch_size) ** 2
    dim = config.embed_dim
    num_matrices = 2 if config.ffn == "mlp" else 3
    maps = 4 * dim * dim + num_matrices * dim * config.ffn_hidden_dim
    attention = 2 * tokens * dim
    return config.depth * 2 * tokens * (maps + attention)


def _masked_patches(masking: BlockMasking, grid_size: int) -> float:
    """Return the expected number of masked patches of one global crop."""
    low, high = masking.ratio_range
    return masking.probability * (low + high) / 2 * grid_size**2

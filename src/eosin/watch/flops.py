"""Floating-point operations of the matrix products of a step, counted from the sizes alone.

A product of (a, b) and (b, c) is 2abc. What else a step does (norms, softmax, AdamW, the target
assignment) is less than a hundredth of it and not counted, nor is what activation checkpointing
computes again: the counts are of what the step needs.
"""

from eosin.masking import BlockMasking
from eosin.models.config import HeadConfig, ViTConfig
from eosin.train.config import TrainConfig
from eosin.views import LOCAL


def backbone_flops(config: ViTConfig, image_px: int) -> float:
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
    pixels need no gradient. Stochastic depth leaves images out of blocks, and the last block's
    feed-forward layer computes only tokens that a loss reads. Masked patches are counted as many as
    there are on average.
    """
    data, model, batch = config.data, config.model, config.global_batch
    has_ibot = config.losses.ibot_weight > 0
    grid_size = data.global_px // model.patch_size
    hidden = _masked_patches(config.masking, grid_size) if has_ibot else 0.0
    kept = 1 - model.drop_path_rate
    local_px = data.crop_size(LOCAL) if data.num_local else 0
    # The class token is read of every crop, the hidden patches of the global ones.
    crops = [(data.global_px, 1 + hidden)] * 2 + [(local_px, 1.0)] * data.num_local
    student = sum(
        2 * _embed_flops(model, px) + 3 * _block_flops(model, px, read=read, kept=kept)
        for px, read in crops
    )
    teacher = sum(
        _embed_flops(model, px) + _block_flops(model, px, read=read) for px, read in crops[:2]
    )
    dino = (3 * len(crops) + 2) * head_flops(model.embed_dim, config.dino_head)
    ibot_head = config.ibot_head or config.dino_head
    ibot = 4 * 2 * hidden * head_flops(model.embed_dim, ibot_head)
    return batch * (student + teacher + dino + ibot)


def _embed_flops(config: ViTConfig, image_px: int) -> int:
    pixels = 3 * image_px**2
    return 2 * pixels * config.embed_dim


def _block_flops(
    config: ViTConfig, image_px: int, *, read: float | None = None, kept: float = 1.0
) -> float:
    """Return the operations of all blocks for one image.

    Args:
        config: Of the backbone.
        image_px: Side of the image.
        read: Tokens that are read of it after the last block; None reads all.
        kept: Share of the images that stochastic depth computes, but for those tokens.
    """
    tokens = 1 + config.num_registers + (image_px // config.patch_size) ** 2
    dim = config.embed_dim
    num_matrices = 2 if config.ffn == "mlp" else 3
    attention = 4 * dim * dim + 2 * tokens * dim
    feed_forward = num_matrices * dim * config.ffn_hidden_dim
    whole = config.depth * (attention + feed_forward) * tokens
    if read is None:
        return 2 * kept * whole
    return 2 * (kept * (whole - feed_forward * tokens) + feed_forward * read)


def _masked_patches(masking: BlockMasking, grid_size: int) -> float:
    """Return the expected number of masked patches of one global crop."""
    low, high = masking.ratio_range
    return masking.probability * (low + high) / 2 * grid_size**2

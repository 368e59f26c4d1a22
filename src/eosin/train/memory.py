"""How much memory a run needs on each device, by what needs it, before anything is built.

Counted from what the networks are made of and what autograd keeps of them; measured on a CPU for
small models (tests/train/test_memory.py). The peak of a step is mostly in the loss of iBOT: all
activations of the student are there, and the scores of all hidden patches several times over. With
few prototypes it is where the last block goes back, with few patches where weights move.

What only a GPU can tell: the memory of its context and libraries (`OVERHEAD_GIB` is a guess), how
much its allocator loses in gaps, and what torch.compile saves. So a plan should leave some room.
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple, final

from eosin.models.config import HeadConfig, ViTConfig
from eosin.train.config import TrainConfig
from eosin.train.num_weights import heads_of, num_backbone_weights, num_weights
from eosin.views import GLOBAL, LOCAL

GIB = 2**30
OVERHEAD_GIB = 1.5
"""Of a GPU's context, its libraries' workspaces and communication buffers."""
MAX_TOKENS_WITH_SCORES = 512
"""Up to here a CPU keeps the scores of all pairs of tokens in bfloat16 (models/block.py)."""
NUM_DEVIATIONS = 5
"""Of the hidden patches of one device in one part of a step, above their mean: what the fullest of
some ten million such parts has. A run that does not fit then ends there at every try."""
SCORE_COPIES = 4
"""Of the scores of hidden patches in iBOT's loss: the student's, the targets, the student's over
the temperature, and their log-probabilities."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """Gibibytes on one device at the peak of a step."""

    weights: float
    """Of student and teacher in float32, this device's share."""
    moments: float
    """Of AdamW."""
    gradients: float
    """That are there at the peak: of the parts before, of the heads, or with AdamW's temporary
    values of everything."""
    copies: float
    """Weights as products use them: gathered from all devices, in bfloat16, prototypes at length
    1."""
    activations: float
    """What autograd keeps of the student's crops, the crops, and one block on its way back."""
    scores: float
    """Of prototypes, for class tokens and hidden patches, with targets."""
    overhead: float = OVERHEAD_GIB

    @property
    def tensors(self) -> float:
        """All but the overhead: what torch counts as allocated."""
        return self.total - self.overhead

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(getattr(self, entry.name) for entry in fields(self)))

    def describe(self) -> str:
        """Return one line: the total and its parts."""
        parts = ", ".join(f"{entry.name} {getattr(self, entry.name):.1f}" for entry in fields(self))
        return f"{self.total:.1f} GiB: {parts}"


def estimate_memory(
    config: TrainConfig,
    *,
    num_devices: int = 1,
    num_replicas: int = 1,
    recompute: bool = False,
    is_gpu: bool = True,
) -> MemoryEstimate:
    """Return what one of the devices needs to train.

    Precision `auto` is counted as bfloat16 on a GPU, and as float32 on a CPU, of which few multiply
    faster in bfloat16.

    Args:
        config: Of the run; its batch is shared by the devices, part by part.
        num_devices: All of them together.
        num_replicas: Copies of the networks, each cut over the devices of one.
        recompute: Whether activations inside blocks are computed again in the backward pass.
        is_gpu: Whether the devices are GPUs.
    """
    num_shards = num_devices // num_replicas
    student = 4 * num_weights(config) / num_shards
    mode = _Mode(2 if _is_bfloat16(config, is_gpu=is_gpu) else 4, recompute, is_gpu)
    phases = _phases(config, mode, num_devices=num_devices, num_shards=num_shards)
    peak = max(phases, key=lambda phase: sum(phase.values()))
    gib = {name: num_bytes / GIB for name, num_bytes in peak.items()}
    return MemoryEstimate(weights=2 * student / GIB, moments=2 * student / GIB, **gib)


class _Mode(NamedTuple):
    """How blocks are computed."""

    width: int
    """Bytes of a value in products."""
    recompute: bool
    is_gpu: bool


def _is_bfloat16(config: TrainConfig, *, is_gpu: bool) -> bool:
    return config.precision == "bfloat16" or (config.precision == "auto" and is_gpu)


def _phases(
    config: TrainConfig, mode: _Mode, *, num_devices: int, num_shards: int
) -> list[dict[str, float]]:
    """Return the bytes of what comes and goes, at the moments that may be the peak."""
    width = mode.width
    # Devices have whole patches, and the fullest one decides.
    kinds = _crops(config, patches=-(-config.part_batch // num_devices))
    student = 4.0 * num_weights(config)
    heads = student - 4 * num_backbone_weights(config.model)
    # Between parts nothing is averaged over devices, so each adds up gradients of everything.
    summed = student if config.accumulation_steps > 1 else 0.0
    backbone_copies = (student - heads) / 4 * width if width == 2 or num_shards > 1 else 0.0
    kept = [_crop_bytes(config, kind, mode) for kind in kinds]
    moving = [_blocks_back_bytes(config, kind, mode) for kind in kinds]
    return [
        # The loss of iBOT is taken.
        {
            "gradients": summed,
            "copies": backbone_copies + _head_copy_bytes(config, width, is_gathered=num_shards > 1),
            "activations": sum(kept),
            "scores": _score_bytes(config, kinds[0].num // 2),
        },
        # Back from the heads, the last blocks of the local crops, then those of the global ones.
        {
            "gradients": max(summed, heads / num_shards),
            "copies": backbone_copies,
            "activations": sum(kept) + moving[-1],
            "scores": 0.0,
        },
        {
            "gradients": max(summed, student / num_shards),
            "copies": backbone_copies,
            "activations": kept[0] + moving[0],
            "scores": 0.0,
        },
        # Weights move: the square roots of AdamW's moments are as large as the gradients.
        {"gradients": 2 * student / num_shards, "copies": 0.0, "activations": 0.0, "scores": 0.0},
    ]


def activation_bytes(
    model: ViTConfig,
    *,
    num_crops: int,
    side_px: int,
    is_bfloat16: bool,
    num_read: float | int | None = None,
    recompute: bool = False,
    is_gpu: bool = True,
) -> float:
    """Return what autograd keeps of the backbone for crops of one size, without weights.

    In products' precision each block keeps of every token: the inputs of four layers, queries, keys
    and values, and what LayerScale multiplies; in float32 always the input of each norm. A GPU
    never keeps the attention matrix. If blocks are computed again, only their inputs are kept.

    Args:
        model: The backbone.
        num_crops: That go through it at once.
        side_px: Of a crop.
        is_bfloat16: Whether products are in bfloat16.
        num_read: Tokens of all crops that the last block's feed-forward layer computes; None is
            all of them.
        recompute: Whether blocks are computed again in the backward pass.
        is_gpu: Whether it is on a GPU.
    """
    mode = _Mode(2 if is_bfloat16 else 4, recompute, is_gpu)
    tokens = _num_tokens(model, num_crops, side_px)
    last_tokens = tokens if num_read is None else num_read
    dim = model.embed_dim
    ends = 4.0 * dim * last_tokens + mode.width * 3 * side_px**2 * num_crops
    if recompute:
        return ends + 4 * dim * tokens * model.depth
    computed = tokens * _kept(model, num_crops)
    attention = model.depth * computed * _attention_bytes(model, mode, tokens // num_crops)
    # Of images that are left out, tokens that are read are computed all the same.
    last = computed if num_read is None else num_read
    return ends + attention + ((model.depth - 1) * computed + last) * _ffn_bytes(model, mode)


def _num_tokens(model: ViTConfig, num_crops: int, side_px: int) -> int:
    return num_crops * (1 + model.num_registers + (side_px // model.patch_size) ** 2)


def _attention_bytes(model: ViTConfig, mode: _Mode, tokens_of_crop: int) -> int:
    """Return the bytes that a block's attention keeps of one token."""
    # The norm's output, queries, keys, values, their mix, its projection.
    products = mode.width * (1 + 3 + 1 + 1) * model.embed_dim
    has_pairs = mode.width == 2 and not mode.is_gpu and tokens_of_crop <= MAX_TOKENS_WITH_SCORES
    pairs = 2 * model.num_heads * tokens_of_crop if has_pairs else 0
    return products + pairs + _residual_bytes(model)


def _ffn_bytes(model: ViTConfig, mode: _Mode) -> int:
    """Return the bytes that a block's feed-forward layer keeps of one token."""
    # The norm's output, the middle, the last layer's output.
    values = 2 * model.embed_dim + _num_hidden(model) * model.ffn_hidden_dim
    return mode.width * values + _residual_bytes(model)


def _residual_bytes(model: ViTConfig) -> int:
    """Return the bytes that a norm and the sum with its input keep of one token."""
    index_add = 4 * model.embed_dim if model.drop_path_rate > 0 else 0
    return 4 * model.embed_dim + 8 + index_add


def _num_hidden(model: ViTConfig) -> int:
    # GELU keeps its input and the layer after it its output; the gate keeps both halves, its
    # silu and their product.
    return 2 if model.ffn == "mlp" else 4


def _kept(model: ViTConfig, num_crops: int) -> float:
    """Return the share of the crops that stochastic depth computes."""
    if model.drop_path_rate == 0:
        return 1.0
    return max(int(num_crops * (1 - model.drop_path_rate)), 1) / num_crops


class _Crops(NamedTuple):
    """Crops of one size on a device, of one part of a step."""

    num: int
    side_px: int
    num_read: float | int
    """Tokens that losses read of them: class tokens and hidden patches."""


def _crops(config: TrainConfig, *, patches: int) -> list[_Crops]:
    """Return the global crops and, where there are any, the local ones."""
    data = config.data
    num_global, num_local = 2 * patches, data.num_local * patches
    num_read = num_global + _num_hidden_patches(config, patches)
    kinds = [_Crops(num_global, data.crop_size(GLOBAL), num_read)]
    if data.num_local:
        kinds.append(_Crops(num_local, data.crop_size(LOCAL), num_local))
    return kinds


def _crop_bytes(config: TrainConfig, kind: _Crops, mode: _Mode) -> float:
    """Return what is kept of crops in the backbone, with what goes in and comes out."""
    model = config.model
    inside = activation_bytes(
        model,
        num_crops=kind.num,
        side_px=kind.side_px,
        is_bfloat16=mode.width == 2,
        num_read=kind.num_read,
        recompute=mode.recompute,
        is_gpu=mode.is_gpu,
    )
    # In float32 the crops themselves are what the first layer keeps.
    crops = 4 * 3 * kind.side_px**2 * kind.num if mode.width == 2 else 0
    # The last tokens, of student and teacher.
    return inside + crops + 2 * 4 * model.embed_dim * kind.num_read


def _blocks_back_bytes(config: TrainConfig, kind: _Crops, mode: _Mode) -> float:
    """Return what the way back through the last blocks adds to what is kept, at its most.

    That is in the last block's attention, or in the block before it, when what the last one kept
    is gone.
    """
    model = config.model
    tokens = _num_tokens(model, kind.num, kind.side_px)
    computed = tokens * _kept(model, kind.num)
    of_crop = _num_tokens(model, 1, kind.side_px)
    attention, ffn = _attention_bytes(model, mode, of_crop), _ffn_bytes(model, mode)
    stream = 4 * model.embed_dim * tokens
    # Of queries, keys, values, and their mix.
    in_attention = computed * mode.width * 4 * model.embed_dim
    # Of LayerScale, and of the layer's middle.
    in_ffn = (
        computed * mode.width * (_num_hidden(model) / 2 * model.ffn_hidden_dim + model.embed_dim)
    )
    last = computed * attention + kind.num_read * ffn
    if mode.recompute:
        again = computed * (attention + ffn)
        return stream + max(last + in_attention, again + in_ffn - stream)
    return stream + max(in_attention, in_ffn - last)


def _score_bytes(config: TrainConfig, patches: int) -> float:
    num_class_tokens = (2 + config.data.num_local) * patches
    dino_head = config.dino_head
    ibot_head = config.ibot_head or dino_head
    # Log-probabilities of the student, targets of the teacher, and their sum over its two views.
    dino = 4 * dino_head.num_prototypes * (num_class_tokens + 2 * patches + patches)
    hidden = _num_hidden_patches(config, patches)
    ibot = 4 * ibot_head.num_prototypes * hidden * SCORE_COPIES
    inside = _head_bytes(dino_head, num_class_tokens) + _head_bytes(ibot_head, hidden)
    return dino + ibot + inside


def _num_hidden_patches(config: TrainConfig, patches: int) -> float:
    """Return how many patches are hidden in the crops of a device that has the most of a run."""
    if config.losses.ibot_weight == 0:
        return 0.0
    low, high = config.masking.ratio_range
    mean = config.masking.probability * (low + high) / 2
    square = config.masking.probability * (low * low + low * high + high * high) / 3
    # Over a whole step the share is always the same; what one device has of it varies.
    num_crops, num_all = 2 * patches, 2 * config.global_batch
    rest = (num_all - num_crops) / (num_all - 1)
    deviation = math.sqrt(max(square - mean * mean, 0) / num_crops * rest)
    share = min(mean + NUM_DEVIATIONS * deviation, high)
    return share * num_crops * (config.data.global_px // config.model.patch_size) ** 2


def _head_bytes(head: HeadConfig, num_rows: int | float) -> int | float:
    # Inputs of two GELUs and of the layers after them, and the bottleneck before and after its
    # normalization; counted in float32, next to the scores it is nothing.
    return 4 * num_rows * (4 * head.hidden_dim + 3 * head.bottleneck_dim)


def _head_copy_bytes(config: TrainConfig, width: int, *, is_gathered: bool) -> int:
    """Return the bytes of the heads in the form in which products use them."""
    prototypes = [head.num_prototypes * head.bottleneck_dim for head in heads_of(config)]
    # Prototypes are brought to their length anew for each call; DINO's head has two.
    at_length = width * (sum(prototypes) + prototypes[0])
    heads = num_weights(config) - num_backbone_weights(config.model)
    if is_gathered:
        return at_length + width * heads
    return at_length + (width * (heads - sum(prototypes)) if width == 2 else 0)

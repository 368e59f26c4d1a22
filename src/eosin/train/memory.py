"""How much memory a run needs on each device, by what needs it, before anything is built.

Counted from what the networks are made of and what autograd keeps of them; measured on a CPU for
small models (tests/train/test_memory.py). The peak of a step is where the targets of iBOT are made:
all activations of the student are there, and the scores of all hidden patches several times over.

What only a GPU can tell: the memory of its context and libraries (`OVERHEAD_GIB` is a guess), how
much its allocator loses in gaps, and what torch.compile saves. So a plan should leave some room.
"""

from dataclasses import dataclass, fields
from typing import final

from eosin.models.config import HeadConfig, ViTConfig
from eosin.train.config import TrainConfig
from eosin.views import GLOBAL, LOCAL

GIB = 2**30
OVERHEAD_GIB = 1.5
"""Of a GPU's context, its libraries' workspaces and communication buffers."""
SUBSET_ABOVE_RATE = 0.1
"""Stochastic depth above this computes only the images that it keeps (models/block.py)."""
TARGET_COPIES = 5
"""Of the scores of hidden patches while targets are made: the student's, the teacher's, theirs over
the temperature, less their maximum, and the exponential."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """Gibibytes on one device at the peak of a step."""

    weights: float
    """Of student and teacher in float32, this device's share."""
    gradients: float
    moments: float
    """Of AdamW."""
    copies: float
    """Weights as products use them: gathered from all devices, in bfloat16, prototypes at length
    1."""
    activations: float
    """What autograd keeps of the student's crops, and the crops."""
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
    config: TrainConfig, *, num_devices: int = 1, num_replicas: int = 1, recompute: bool = False
) -> MemoryEstimate:
    """Return what one of the devices needs to train.

    Precision `auto` is counted as bfloat16, which GPUs take.

    Args:
        config: Of the run; its batch is shared by the devices, part by part.
        num_devices: All of them together.
        num_replicas: Copies of the networks, each cut over the devices of one.
        recompute: Whether activations inside blocks are computed again in the backward pass.
    """
    is_bfloat16 = config.precision != "float32"
    num_shards = num_devices // num_replicas
    # Devices get whole patches, and the fullest one decides.
    patches = -(-config.part_batch // num_devices)
    student = num_weights(config)
    num_temporary = student / num_shards
    activations = _student_bytes(config, patches, is_bfloat16=is_bfloat16, recompute=recompute)
    scores = _score_bytes(config, patches)
    # AdamW works when activations are gone; its square roots are as large as the weights.
    scores = max(scores, 4 * num_temporary - activations)
    gradients = 4 * student / num_shards
    if num_shards > 1 and config.accumulation_steps > 1:
        # Between parts nothing is averaged over devices, so each adds up gradients of everything.
        gradients += 4 * student
    return MemoryEstimate(
        weights=2 * 4 * student / num_shards / GIB,
        gradients=gradients / GIB,
        moments=2 * 4 * student / num_shards / GIB,
        copies=_copy_bytes(config, num_shards=num_shards, is_bfloat16=is_bfloat16) / GIB,
        activations=activations / GIB,
        scores=scores / GIB,
    )


def num_weights(config: TrainConfig) -> int:
    """Return the number of parameters of the student: backbone and heads."""
    dim = config.model.embed_dim
    return num_backbone_weights(config.model) + sum(
        num_head_weights(head, dim) for head in heads_of(config)
    )


def heads_of(config: TrainConfig) -> tuple[HeadConfig, ...]:
    """Return the heads that the run builds."""
    has_own = config.losses.ibot_weight > 0 and config.ibot_head is not None
    return (
        (config.dino_head, config.ibot_head)
        if has_own and config.ibot_head
        else (config.dino_head,)
    )


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
    layers = sum((wide + 1) * narrow for wide, narrow in zip(widths, widths[1:], strict=False))
    return layers + (head.bottleneck_dim + 1) * head.num_prototypes


def activation_bytes(
    model: ViTConfig, *, num_crops: int, side_px: int, is_bfloat16: bool, recompute: bool = False
) -> float:
    """Return what autograd keeps of the backbone for crops of one size, without weights.

    In products' precision each block keeps of every token: the inputs of four layers, queries, keys
    and values, and what LayerScale multiplies; in float32 always the input of each norm. The
    attention matrix is never kept.
    """
    tokens = num_crops * (1 + model.num_registers + (side_px // model.patch_size) ** 2)
    dim = model.embed_dim
    width = 2 if is_bfloat16 else 4
    ends = 4 * dim * tokens + width * 3 * side_px**2 * num_crops
    if recompute:
        # The inputs of all blocks, and everything inside the one that is computed again.
        return ends + 4 * dim * tokens * model.depth + tokens * _block_bytes(model, width)
    return ends + model.depth * tokens * _kept(model, num_crops) * _block_bytes(model, width)


def _block_bytes(model: ViTConfig, width: int) -> float:
    dim, hidden = model.embed_dim, model.ffn_hidden_dim
    # norm 1's output, queries, keys, values, their mix, its projection; norm 2's, the last layer's.
    in_blocks = (1 + 3 + 1 + 1) + (1 + 1)
    # GELU keeps its input and the layer after it its output; the gate keeps both halves and silu.
    in_feed_forward = 2 if model.ffn == "mlp" else 4
    norms = 2 * (4 * dim + 8)
    index_add = 2 * 4 * dim if model.drop_path_rate > SUBSET_ABOVE_RATE else 0
    return width * (in_blocks * dim + in_feed_forward * hidden) + norms + index_add


def _kept(model: ViTConfig, num_crops: int) -> float:
    """Return the share of the crops that stochastic depth computes."""
    if model.drop_path_rate <= SUBSET_ABOVE_RATE:
        return 1.0
    return max(int(num_crops * (1 - model.drop_path_rate)), 1) / num_crops


def _num_block_weights(model: ViTConfig) -> int:
    dim, hidden = model.embed_dim, model.ffn_hidden_dim
    attention = 4 * dim * dim + 4 * dim
    inward = (dim + 1) * hidden * (1 if model.ffn == "mlp" else 2)
    return attention + inward + (hidden + 1) * dim + 4 * dim + 2 * dim


def _student_bytes(
    config: TrainConfig, patches: int, *, is_bfloat16: bool, recompute: bool
) -> float:
    data, model = config.data, config.model
    kinds = [(2 * patches, data.crop_size(GLOBAL))]
    if data.num_local:
        kinds.append((data.num_local * patches, data.crop_size(LOCAL)))
    total = 0.0
    for num_crops, side_px in kinds:
        total += activation_bytes(
            model,
            num_crops=num_crops,
            side_px=side_px,
            is_bfloat16=is_bfloat16,
            recompute=recompute,
        )
        # The crops themselves, in float32; without bfloat16 they are what the first layer keeps.
        total += 4 * 3 * side_px**2 * num_crops if is_bfloat16 else 0
    # The last tokens of the global crops, of student and teacher.
    num_patches = (data.global_px // model.patch_size) ** 2
    return total + 2 * 4 * model.embed_dim * 2 * patches * (1 + model.num_registers + num_patches)


def _score_bytes(config: TrainConfig, patches: int) -> float:
    num_class_tokens = (2 + config.data.num_local) * patches
    dino_head = config.dino_head
    ibot_head = config.ibot_head or dino_head
    # Log-probabilities of the student, targets of the teacher, and their sum over its two views.
    dino = 4 * dino_head.num_prototypes * (num_class_tokens + 2 * patches + patches)
    hidden = _num_hidden_patches(config, patches) if config.losses.ibot_weight > 0 else 0.0
    ibot = 4 * ibot_head.num_prototypes * hidden * TARGET_COPIES
    inside = _head_bytes(dino_head, num_class_tokens) + _head_bytes(ibot_head, hidden)
    return dino + ibot + inside


def _num_hidden_patches(config: TrainConfig, patches: int) -> float:
    side = config.data.global_px // config.model.patch_size
    low, high = config.masking.ratio_range
    return config.masking.probability * (low + high) / 2 * 2 * patches * side**2


def _head_bytes(head: HeadConfig, num_rows: float) -> float:
    # Inputs of two GELUs and of the layers after them, and the bottleneck before and after its
    # normalization; counted in float32, next to the scores it is nothing.
    return 4 * num_rows * (4 * head.hidden_dim + 3 * head.bottleneck_dim)


def _copy_bytes(config: TrainConfig, *, num_shards: int, is_bfloat16: bool) -> float:
    """Return the bytes of weights in the form in which products use them."""
    width = 2 if is_bfloat16 else 4
    prototypes = [head.num_prototypes * head.bottleneck_dim for head in heads_of(config)]
    # Prototypes are brought to their length anew for each call; DINO's head has two.
    lengths = (4 + (width if is_bfloat16 else 0)) * (sum(prototypes) + prototypes[0])
    if num_shards == 1 and not is_bfloat16:
        return lengths
    return lengths + width * (num_weights(config) - sum(prototypes))

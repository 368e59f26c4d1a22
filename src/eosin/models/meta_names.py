"""Meta's names of tensors, freed of what training wraps round them, and what they tell of a model.

teacher.backbone._fsdp_wrapped_module.blocks.2.21.norm1.weight → backbone: blocks.21.norm1.weight
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from eosin.errors import CheckpointError
from eosin.models.config import ViTConfig
from eosin.models.positions import metas_rule

PARTS = ("backbone", "dino_head", "ibot_head")
_WRAPPERS = re.compile(r"\b(module|_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)\.")
_CHUNKED = re.compile(r"^blocks\.\d+\.(\d+)\.")
_HEAD_CHANNELS = 64
"""Of every size of DINOv2; no tensor's shape tells."""
_MAX_MLP_RATIO = 16


def without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the teacher, or of all there is, without the names of wrappers.

    Wrappers are those of FSDP, of data parallelism, of torch.compile and of activation
    checkpointing.
    """
    bare = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    prefix = "teacher."
    teacher = {name.removeprefix(prefix): x for name, x in bare.items() if name.startswith(prefix)}
    return teacher or bare


def split_network(tensors: Mapping[str, Tensor], where: str) -> dict[str, dict[str, Tensor]]:
    """Return backbone and heads by name, each with bare names; without prefixes all is backbone.

    Blocks that were stored in chunks are numbered through, and are so already within a chunk.

    Args:
        tensors: By names that begin with a part's, or by the backbone's own.
        where: For messages.

    Raises:
        CheckpointError: If there is no backbone, or something beside the three parts.
    """
    if "cls_token" in tensors:
        return {"backbone": _unchunked(tensors)}
    parts: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in PARTS:
            parts.setdefault(part, {})[rest] = tensor
        else:
            unknown.append(name)
    if "backbone" not in parts or unknown:
        raise CheckpointError(
            f"{where} holds no network of DINOv2: of {len(tensors)} tensors {len(unknown)} belong "
            f"to none of {', '.join(PARTS)} ({sorted(unknown)[:3]}); give weights under Meta's "
            "names, or a Hugging Face folder"
        )
    return {**parts, "backbone": _unchunked(parts["backbone"])}


def inferred_config(backbone: Mapping[str, Tensor], where: str) -> ViTConfig:
    """Return the configuration that tensors of these names and shapes have.

    What no shape tells is as in Meta's releases: heads of 64 channels, and positions that are
    interpolated with an offset of 0.1, or smoothly where there are registers.

    Raises:
        CheckpointError: If a tensor that tells is not there, or has an impossible shape.
    """
    try:
        dim = backbone["cls_token"].shape[-1]
        depth = 1 + max(int(name.split(".")[1]) for name in backbone if name.startswith("blocks."))
        is_mlp = "blocks.0.mlp.fc1.weight" in backbone
        hidden_dim = backbone[f"blocks.0.mlp.{'fc2' if is_mlp else 'w3'}.weight"].shape[1]
        patch_size = backbone["patch_embed.proj.weight"].shape[-1]
        num_positions = backbone["pos_embed"].shape[1] - 1
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{where} holds no vision transformer under Meta's names ({error}); it has "
            f"{sorted(backbone)[:3]} and {max(len(backbone) - 3, 0)} more"
        ) from error
    grid_size = round(num_positions**0.5)
    if grid_size**2 != num_positions or dim % _HEAD_CHANNELS:
        raise CheckpointError(
            f"{where}: {num_positions} positions and {dim} channels must be a square and a multiple"
            f" of {_HEAD_CHANNELS}; give a Hugging Face folder or a run, which say what they hold"
        )
    num_registers = backbone["register_tokens"].shape[1] if "register_tokens" in backbone else 0
    config = ViTConfig(
        embed_dim=dim,
        depth=depth,
        num_heads=dim // _HEAD_CHANNELS,
        ffn="mlp" if is_mlp else "swiglu",
        patch_size=patch_size,
        image_size=grid_size * patch_size,
        num_registers=num_registers,
    )
    return metas_rule(_with_hidden_dim(config, hidden_dim, where))


def _with_hidden_dim(config: ViTConfig, hidden_dim: int, where: str) -> ViTConfig:
    for ratio in range(1, _MAX_MLP_RATIO + 1):
        candidate = replace(config, mlp_ratio=ratio)
        if candidate.ffn_hidden_dim == hidden_dim:
            return candidate
    raise CheckpointError(
        f"{where}: its feed-forward layers have {hidden_dim} channels inside, which no whole "
        f"mlp_ratio gives at embed_dim={config.embed_dim}"
    )


def _unchunked(backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_CHUNKED.sub(r"blocks.\1.", name): tensor for name, tensor in backbone.items()}

"""Positions of patches: interpolating the stored table to other grids, for good or for one call.

Two rules are about: Meta's models without registers place the target grid with an offset of 0.1 and
do not smooth, those with registers have no offset and smooth. A model must be used with the rule
that it was trained with, or its positions shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from eosin.errors import CheckpointError, ConfigError
from eosin.models.config import ViTConfig

_TABLE = "pos_embed"


def interpolated_positions(
    table: Float[Tensor, "1 stored dim"], config: ViTConfig, rows: int, columns: int
) -> Float[Tensor, "1 wanted dim"]:
    """Return the table for another grid of patches, or as it is for the stored one.

    The class token's position comes first and stays. Computed in float32.

    Source: facebookresearch/dinov2 b8931f7, models/vision_transformer.py.
    """
    stored = config.grid_size
    if rows == columns == stored:
        return table
    exact = table.float()
    patches = exact[:, 1:].reshape(1, stored, stored, -1).permute(0, 3, 1, 2)
    offset = config.interpolate_offset
    # With an offset, the scale and not the size decides which places are sampled.
    scale = ((rows + offset) / stored, (columns + offset) / stored) if offset else None
    patches = functional.interpolate(
        patches,
        size=None if offset else (rows, columns),
        scale_factor=scale,
        mode="bicubic",
        antialias=config.is_antialiased,
    )
    patches = patches.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([exact[:, :1], patches], dim=1).to(table.dtype)


def resample_positions(
    state_dict: Mapping[str, Tensor], config: ViTConfig, image_size: int
) -> tuple[dict[str, Tensor], ViTConfig]:
    """Return a model that stores positions for another size, and computes there what it did.

    The table is interpolated once with the model's own rule, so that at `image_size` nothing is
    left to interpolate and no offset is needed. At other sizes the model changes a little.

    Args:
        state_dict: Of a `VisionTransformer`; other tensors are handed on.
        config: Of the same one.
        image_size: Side of the square images in pixels.

    Raises:
        ConfigError: If patches do not fill `image_size`.
        CheckpointError: If the state dict has no table of the size that the configuration says.
    """
    target = replace(config, image_size=image_size, interpolate_offset=0.0)
    table = _table(state_dict, config)
    grid = target.grid_size
    return {**state_dict, _TABLE: interpolated_positions(table, config, grid, grid)}, target


def metas_rule(config: ViTConfig) -> ViTConfig:
    """Return the configuration with the interpolation that Meta's released weights have.

    Source: facebookresearch/dinov2 b8931f7, hub/backbones.py.
    """
    has_registers = config.num_registers > 0
    return replace(
        config, interpolate_offset=0.0 if has_registers else 0.1, antialias=has_registers
    )


def position_shift(
    state_dict: Mapping[str, Tensor],
    config: ViTConfig,
    sides_px: Sequence[int],
    *,
    trained_with: ViTConfig | None = None,
) -> dict[int, float]:
    """Return by how much patch positions differ from those that the weights were trained with.

    The difference of the two interpolated tables is given relative to the second (L2 norms, without
    the class token), for each side of square crops.

    Args:
        state_dict: Holds the stored table, on the CPU or not.
        config: The rule that the model is run with.
        sides_px: Of the crops of a run; each side once in what is returned.
        trained_with: The rule that the weights were trained with; None is that of Meta's releases.

    Raises:
        ConfigError: If patches do not fill a side.
        CheckpointError: If the state dict has no table of the size that the configuration says.
    """
    table = _table(state_dict, config).detach()
    rule = metas_rule(config) if trained_with is None else trained_with
    before_config = replace(
        config, interpolate_offset=rule.interpolate_offset, antialias=rule.is_antialiased
    )
    shifts = {}
    for side in sides_px:
        if side % config.patch_size:
            raise ConfigError(f"crops of {side} px are no multiple of {config.patch_size} px")
        grid = side // config.patch_size
        before = interpolated_positions(table, before_config, grid, grid)[:, 1:]
        now = interpolated_positions(table, config, grid, grid)[:, 1:]
        shifts[side] = float((now - before).norm() / before.norm().clamp(min=1e-12))
    return shifts


def _table(state_dict: Mapping[str, Tensor], config: ViTConfig) -> Tensor:
    expected = (1, 1 + config.grid_size**2, config.embed_dim)
    table = state_dict.get(_TABLE)
    if table is None or table.shape != expected:
        found = "none" if table is None else f"one of {tuple(table.shape)}"
        raise CheckpointError(
            f"image_size={config.image_size} needs a {_TABLE} of {expected}, and there is {found}; "
            "give the image_size that the weights were stored for"
        )
    return table

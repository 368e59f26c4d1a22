"""How large a vision transformer and its heads are, in numbers alone.

Recipes import this file, so it must not import torch.
"""

from dataclasses import dataclass, replace
from typing import Literal, final

from eosin.errors import ConfigError, check_whole_number

_MAX_GRID = 512
"""Patches along a side for which positions are stored."""


def _require(is_met: bool, message: str) -> None:
    if not is_met:
        raise ConfigError(message)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ViTConfig:
    """Everything that decides the shape and the arithmetic of a vision transformer.

    Source: facebookresearch/dinov2 b8931f7, models/vision_transformer.py.
    """

    embed_dim: int
    depth: int
    num_heads: int
    ffn: Literal["mlp", "swiglu"] = "mlp"
    mlp_ratio: int = 4
    patch_size: int = 14
    image_size: int = 224
    """Pixels a side of the square image for which positions are stored; others interpolate."""
    num_registers: int = 0
    layerscale_init: float = 1e-5
    drop_path_rate: float = 0.0
    """Probability that a residual branch is skipped for one image, the same in every block."""
    interpolate_offset: float = 0.0
    """Added to the target grid when positions are interpolated; Meta's models without registers
    were trained with 0.1, and only 0.0 can be exported to Hugging Face without a difference."""
    antialias: bool | None = None
    """Whether positions are low-passed when interpolated to a smaller grid; None does as Hugging
    Face does, which is with registers only."""

    def __post_init__(self) -> None:
        for name, most in (
            *(("embed_dim", 2**15), ("depth", 1000), ("num_heads", 1024), ("mlp_ratio", 64)),
            *(("patch_size", 1024), ("image_size", 2**14), ("num_registers", 1024)),
        ):
            check_whole_number(name, getattr(self, name), 0 if name == "num_registers" else 1, most)
        _require(
            self.embed_dim % self.num_heads == 0,
            f"embed_dim={self.embed_dim} must be a multiple of num_heads={self.num_heads}",
        )
        _require(
            self.image_size % self.patch_size == 0,
            f"image_size={self.image_size} must be a multiple of patch_size={self.patch_size}",
        )
        _require(self.ffn in ("mlp", "swiglu"), f"ffn={self.ffn!r} must be 'mlp' or 'swiglu'")
        _require(
            self.grid_size <= _MAX_GRID,
            f"image_size={self.image_size} has {self.grid_size} patches of patch_size="
            f"{self.patch_size} a side and may have {_MAX_GRID}",
        )
        _require(
            self.layerscale_init > 0,
            f"layerscale_init={self.layerscale_init} must be above 0; DINOv2 uses 1e-5",
        )
        _require(
            0 <= self.drop_path_rate < 1,
            f"drop_path_rate={self.drop_path_rate} must be at least 0 and below 1",
        )
        _require(
            0 <= self.interpolate_offset < 1,
            f"interpolate_offset={self.interpolate_offset} must be at least 0 and below 1",
        )

    @property
    def grid_size(self) -> int:
        """Return the patches a side of the stored grid of positions."""
        return self.image_size // self.patch_size

    @property
    def ffn_hidden_dim(self) -> int:
        """Return the width inside the feed-forward layer.

        SwiGLU has three matrices instead of two, so it is two thirds as wide, in steps of eight.
        """
        hidden_dim = self.embed_dim * self.mlp_ratio
        return hidden_dim if self.ffn == "mlp" else (int(hidden_dim * 2 / 3) + 7) // 8 * 8

    @property
    def is_antialiased(self) -> bool:
        """Return `antialias`, or what it follows from when it is None."""
        return self.num_registers > 0 if self.antialias is None else self.antialias


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HeadConfig:
    """The size of a projection head, and whether its prototypes have lengths.

    Source: facebookresearch/dinov2 b8931f7, configs/ssl_default_config.yaml; facebookresearch/dino,
    vision_transformer.py (`norm_last_layer`, the lengths).
    """

    num_prototypes: int = 65536
    hidden_dim: int = 2048
    bottleneck_dim: int = 256
    trains_lengths: bool = True
    """Whether the lengths of prototypes are trained, as in DINOv2, or stay 1, as in DINO."""

    def __post_init__(self) -> None:
        for name, most in (
            ("num_prototypes", 2**24),
            ("hidden_dim", 2**16),
            ("bottleneck_dim", 2**16),
        ):
            check_whole_number(name, getattr(self, name), 1, most)


VIT_SIZES: dict[str, ViTConfig] = {
    "nano": ViTConfig(embed_dim=192, depth=6, num_heads=3),
    "tiny": ViTConfig(embed_dim=192, depth=12, num_heads=3),
    "small": ViTConfig(embed_dim=384, depth=12, num_heads=6),
    "base": ViTConfig(embed_dim=768, depth=12, num_heads=12),
    "large": ViTConfig(embed_dim=1024, depth=24, num_heads=16),
    "giant2": ViTConfig(embed_dim=1536, depth=40, num_heads=24, ffn="swiglu"),
}


def vit_config(
    size: str,
    *,
    patch_size: int = 14,
    image_size: int = 224,
    num_registers: int = 0,
    layerscale_init: float = 1e-5,
    drop_path_rate: float = 0.0,
) -> ViTConfig:
    """Return the configuration of a named size; `dataclasses.replace` changes the rest.

    Raises:
        ConfigError: If the size has no such name, or a value is out of range.
    """
    if size not in VIT_SIZES:
        raise ConfigError(f"no vision transformer is called {size!r}; choose of {list(VIT_SIZES)}")
    return replace(
        VIT_SIZES[size],
        patch_size=patch_size,
        image_size=image_size,
        num_registers=num_registers,
        layerscale_init=layerscale_init,
        drop_path_rate=drop_path_rate,
    )

"""`config.json` of a Hugging Face folder: written for a model of ours, and read of any DINOv2."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from eosin.errors import InputError
from eosin.models.config import ViTConfig

OFFSET_KEY = "interpolate_offset"
"""Transformers knows no offset and lets the key pass; it tells how the model was trained."""

JsonValue = int | float | bool | str | list[str]

_FIXED_CONFIG: dict[str, JsonValue] = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "num_channels": 3,
    "qkv_bias": True,
}
"""What is the same in every model of ours and would change the outputs if it were not."""


def config_to_json(config: ViTConfig) -> dict[str, JsonValue]:
    """Return what transformers needs to build a model that computes as ours does."""
    has_registers = config.num_registers > 0
    registers: dict[str, JsonValue] = (
        {"num_register_tokens": config.num_registers} if has_registers else {}
    )
    return {
        "architectures": ["Dinov2WithRegistersModel" if has_registers else "Dinov2Model"],
        "model_type": "dinov2_with_registers" if has_registers else "dinov2",
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "mlp_ratio": config.mlp_ratio,
        "use_swiglu_ffn": config.ffn == "swiglu",
        "patch_size": config.patch_size,
        "image_size": config.image_size,
        **registers,
        **_FIXED_CONFIG,
        # The weights bring their own LayerScale; this is what a fresh model would start from.
        "layerscale_value": 1.0,
        "drop_path_rate": 0.0,
        OFFSET_KEY: config.interpolate_offset,
        "dtype": "float32",
    }


def config_from_json(config_json: Mapping[str, object]) -> ViTConfig:
    """Return the configuration of the model, as transformers computes it.

    Raises:
        InputError: If it is of a model that is not DINOv2, or computes something else.
    """
    model_type = config_json.get("model_type")
    if model_type not in ("dinov2", "dinov2_with_registers"):
        raise InputError(
            f"model_type={model_type!r} in config.json; only 'dinov2' and 'dinov2_with_registers' "
            "can be read"
        )
    for name, value in _FIXED_CONFIG.items():
        if config_json.get(name, value) != value:
            raise InputError(
                f"{name}={config_json[name]!r} in config.json; only {value!r} can be read"
            )
    ffn: Literal["mlp", "swiglu"] = "swiglu" if config_json.get("use_swiglu_ffn") else "mlp"
    config = ViTConfig(
        embed_dim=_integer(config_json, "hidden_size"),
        depth=_integer(config_json, "num_hidden_layers"),
        num_heads=_integer(config_json, "num_attention_heads"),
        ffn=ffn,
        mlp_ratio=_integer(config_json, "mlp_ratio"),
        patch_size=_integer(config_json, "patch_size"),
        image_size=_integer(config_json, "image_size"),
    )
    if model_type == "dinov2":
        return config
    return replace(config, num_registers=_integer(config_json, "num_register_tokens"))


def _integer(config_json: Mapping[str, object], name: str) -> int:
    value = config_json.get(name)
    if not isinstance(value, int):
        raise InputError(f"{name}={value!r} in config.json must be a whole number")
    return value

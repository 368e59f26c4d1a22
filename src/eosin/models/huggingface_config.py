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


_DEFAULTS: dict[str, object] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "image_size": 224,
    "use_swiglu_ffn": False,
    "num_register_tokens": 4,
}
"""Of transformers' Dinov2Config and Dinov2WithRegistersConfig."""


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
        raise InputError(_other_model(model_type))
    for name, value in _FIXED_CONFIG.items():
        if config_json.get(name, value) != value:
            raise InputError(
                f"{name}={config_json[name]!r} in config.json; only {value!r} can be read"
            )
    has_registers = model_type == "dinov2_with_registers"
    # Transformers leaves out of a file what is as in its own defaults.
    config_json = {**_DEFAULTS, "patch_size": 16 if has_registers else 14, **config_json}
    swiglu = config_json["use_swiglu_ffn"]
    if not isinstance(swiglu, bool):
        raise InputError(f"use_swiglu_ffn={swiglu!r} in config.json must be true or false")
    ffn: Literal["mlp", "swiglu"] = "swiglu" if swiglu else "mlp"
    config = ViTConfig(
        embed_dim=_integer(config_json, "hidden_size"),
        depth=_integer(config_json, "num_hidden_layers"),
        num_heads=_integer(config_json, "num_attention_heads"),
        ffn=ffn,
        mlp_ratio=_integer(config_json, "mlp_ratio"),
        patch_size=_integer(config_json, "patch_size"),
        image_size=_integer(config_json, "image_size"),
    )
    if not has_registers:
        return config
    return replace(config, num_registers=_integer(config_json, "num_register_tokens"))


def _integer(config_json: Mapping[str, object], name: str) -> int:
    value = config_json.get(name)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name}={value!r} in config.json must be a whole number")
    return value


def _other_model(model_type: object) -> str:
    """Return what a model is that is not DINOv2, and what to do with it."""
    if model_type is None:
        return (
            "config.json has no model_type, so it is not of a transformers model; give a folder "
            "that save_pretrained wrote, or, of a timm model, its weights as a file"
        )
    known = {
        "vit": "a plain vision transformer (such as Phikon)",
        "dinov3_vit": "a DINOv3 model, which has rotary positions",
        "timm_wrapper": "a timm model",
        "clip": "a CLIP model",
    }.get(str(model_type), "another kind of model")
    return (
        f"model_type={model_type!r} in config.json is {known}; eosin reads 'dinov2' and "
        "'dinov2_with_registers'. Embed with the model's own code, or give a DINOv2 model"
    )

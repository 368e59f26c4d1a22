"""A backbone as a Hugging Face folder, and back: the same tensors under other names.

The names are those that transformers writes to disk (4.x and 5.x read them). Only what transformers
computes without a difference is exported; anything else is refused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from eosin import __version__
from eosin.atomic import atomic_folder
from eosin.errors import CheckpointError, ConfigError, InputError, system_reason
from eosin.models.config import ViTConfig
from eosin.models.huggingface_config import (
    OFFSET_KEY,
    JsonValue,
    config_from_json,
    config_to_json,
)
from eosin.models.positions import resample_positions
from eosin.models.tensor_file import open_tensors, read_tensors, write_tensors
from eosin.names import get_logger

logger = get_logger(__name__)

_OUTER_NAMES = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "pos_embed": "embeddings.position_embeddings",
    "register_tokens": "embeddings.register_tokens",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_BLOCK_NAMES = {
    "norm1": "norm1",
    "attn.proj": "attention.output.dense",
    "norm2": "norm2",
}
_FFN_NAMES = {
    "mlp": {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"},
    "swiglu": {"mlp.w12": "mlp.weights_in", "mlp.w3": "mlp.weights_out"},
}
_QKV_NAMES = tuple(f"attention.attention.{part}" for part in ("query", "key", "value"))

_WEIGHTS = "model.safetensors"
_TEXTS = ("README.md", "config.json", "preprocessor_config.json")
_INSIDE = "dinov2."
_MARK = "eosin_version"
"""Key in the header of the weights. Transformers copies unknown keys of `config.json` into whatever
it saves, such as a model fine-tuned from an export, but none of the header."""
_TEXTS_MARK = "eosin_texts_sha256"
"""Key beside it: of the texts, so that a card that somebody has edited is known as theirs."""


def to_huggingface(
    state_dict: Mapping[str, Tensor], config: ViTConfig
) -> tuple[dict[str, Tensor], dict[str, JsonValue]]:
    """Return the tensors under Hugging Face's names, in float32, and what `config.json` holds.

    The tensors may share memory with the state dict.

    Raises:
        ConfigError: If transformers interpolates positions in another way than the model does.
        CheckpointError: If the state dict lacks a tensor of the model, or has one more.
    """
    _refuse_inexact(config)
    names = _names(config)
    fused = _fused_names(config)
    _check_names(state_dict, {*names, *fused}, "the state dict")
    tensors = {theirs: state_dict[ours] for ours, theirs in names.items()}
    for ours, parts in fused.items():
        tensors |= zip(parts, state_dict[ours].chunk(3), strict=True)
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in tensors.items()
    }
    require_finite(tensors, "the model to export")
    return tensors, config_to_json(config)


def from_huggingface(
    tensors: Mapping[str, Tensor], config_json: Mapping[str, object]
) -> tuple[dict[str, Tensor], ViTConfig]:
    """Return the state dict under Meta's names, and the configuration of the model it fits.

    Raises:
        InputError: If `config_json` is of a model that is not DINOv2, or computes something else.
        CheckpointError: If a tensor is missing or unknown.
    """
    config = config_from_json(config_json)
    names = _names(config)
    fused = _fused_names(config)
    expected = {*names.values(), *(part for parts in fused.values() for part in parts)}
    # Of a model with a head on it, such as one that was fine-tuned, the backbone is taken.
    inside = {name.removeprefix(_INSIDE): x for name, x in tensors.items() if _INSIDE in name}
    if inside.keys() >= expected and not expected & tensors.keys():
        tensors = {name: inside[name] for name in expected}
    _check_names(tensors, expected, "the Hugging Face model")
    state_dict = {ours: tensors[theirs] for ours, theirs in names.items()}
    for ours, parts in fused.items():
        state_dict[ours] = torch.cat([tensors[part] for part in parts])
    return state_dict, config


def resampled_for_huggingface(
    state_dict: Mapping[str, Tensor], config: ViTConfig, *, input_size_px: int
) -> tuple[dict[str, Tensor], ViTConfig, str]:
    """Return a model that transformers computes exactly, and a sentence for the card.

    A model that interpolates positions as transformers does is returned as it is, and the sentence
    is empty. Any other gets its positions resampled to `input_size_px`, once and by its own rule:
    there it computes what it did, and at other sizes something a little different. A warning says
    so as well.

    Raises:
        ConfigError: If patches do not fill `input_size_px`.
        CheckpointError: If the state dict has no positions of the size that the model stores.
    """
    if _is_exact(config):
        return dict(state_dict), config, ""
    resampled, target = resample_positions(state_dict, config, input_size_px)
    note = (
        f"Positions were resampled from {config.grid_size} x {config.grid_size} to "
        f"{target.grid_size} x {target.grid_size} patches (offset {config.interpolate_offset}, "
        f"{'with' if config.is_antialiased else 'without'} smoothing): at {input_size_px} x "
        f"{input_size_px} px these weights compute what was trained; at other sizes transformers "
        "interpolates in another way than training did."
    )
    logger.warning("%s", note)
    return resampled, replace(target, antialias=None), note


def export_huggingface(
    folder: Path,
    state_dict: Mapping[str, Tensor],
    config: ViTConfig,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    card: str,
    input_size_px: int = 224,
) -> None:
    """Write a folder that `transformers.AutoModel.from_pretrained` loads; it appears whole.

    Args:
        folder: Replaced if it is an export that nobody has changed, see `is_untouched_export`.
        state_dict: Of a `VisionTransformer`.
        config: Of the same one.
        mean: Of each colour channel on a scale from 0 to 1, for the preprocessor.
        std: As `mean`.
        card: The model card, in Markdown; it becomes `README.md`.
        input_size_px: The side to which the preprocessor resizes and crops.

    Raises:
        ConfigError: If the model cannot be exported without a difference, or `folder` holds
            something else.
        CheckpointError: If the state dict does not fit the configuration.
        WriteError: If the folder cannot be written, such as on a full disk.
    """
    tensors, config_json = to_huggingface(state_dict, config)
    preprocessor = {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": input_size_px},
        "resample": 2,  # bilinear, in PIL's numbers
        "do_center_crop": True,
        "crop_size": {"height": input_size_px, "width": input_size_px},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    texts = (card, *(json.dumps(values, indent=2) + "\n" for values in (config_json, preprocessor)))
    with atomic_folder(folder, is_ours=is_untouched_export) as aside:
        for name, text in zip(_TEXTS, texts, strict=True):
            (aside / name).write_text(text, encoding="utf-8", newline="")
        header = {"format": "pt", _MARK: __version__, _TEXTS_MARK: _digest_of_texts(aside)}
        write_tensors(aside / _WEIGHTS, tensors, header)


def import_huggingface(folder: Path) -> tuple[dict[str, Tensor], ViTConfig]:
    """Read `config.json` and `model.safetensors` of a DINOv2 model's folder.

    Raises:
        InputError: If a file cannot be read, or the model is of another kind.
        CheckpointError: If a tensor is missing or unknown.
    """
    config_json = _read_json(folder)
    config_from_json(config_json)  # a model of another kind is named before its weights are read
    if not (folder / "model.safetensors").is_file():
        raise InputError(_no_weights(folder))
    try:
        tensors = read_tensors(folder / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise _unreadable(folder, error) from error
    return from_huggingface(tensors, config_json)


def _no_weights(folder: Path) -> str:
    """Return what lies in a folder in place of `model.safetensors`, and what to do."""
    if (folder / "model.safetensors.index.json").exists():
        return (
            f"{folder} holds weights in several files (model.safetensors.index.json); join them: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER, max_shard_size='50GB')"
        )
    if (folder / "adapter_config.json").exists():
        return (
            f"{folder} holds an adapter (PEFT) and not the model; merge it with merge_and_unload() "
            "and save the whole model"
        )
    if (folder / "pytorch_model.bin").exists():
        return (
            f"{folder} holds its weights as a pickle (pytorch_model.bin), which may run code; "
            "convert them: AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER)"
        )
    return (
        f"{folder} has no model.safetensors; give a folder with config.json and model.safetensors, "
        "as 'hf download' or save_pretrained makes it"
    )


def _read_json(folder: Path) -> dict[str, object]:
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> InputError:
    reason = system_reason(error, with_name=True)
    return InputError(
        f"{folder}: cannot be read as a Hugging Face model ({reason}); "
        "give a folder with config.json and model.safetensors"
    )


def is_our_export(folder: Path) -> bool:
    """Return whether `export_huggingface` wrote the folder, and so trained without an offset.

    Raises:
        InputError: If `config.json` cannot be read.
    """
    return OFFSET_KEY in _read_json(folder)


def is_untouched_export(folder: Path) -> bool:
    """Return whether `export_huggingface` wrote the folder and nobody has changed anything in it.

    Only such a folder can be made again from the run. Exports of versions that left no mark are not
    known as such, and in those that left none of their texts only added files are noticed.
    """
    for path in folder.iterdir():
        if path.name not in (_WEIGHTS, *_TEXTS) or path.is_symlink() or not path.is_file():
            return False
    try:
        with open_tensors(folder / _WEIGHTS) as stored:
            header = stored.metadata() or {}
        return _MARK in header and header.get(_TEXTS_MARK) in (None, _digest_of_texts(folder))
    except (OSError, SafetensorError):
        return False


def _digest_of_texts(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in _TEXTS:
        digest.update((folder / name).read_bytes() + b"\0")
    return digest.hexdigest()


def _names(config: ViTConfig) -> dict[str, str]:
    """Return Hugging Face's name for each of ours that it keeps in one piece."""
    names = dict(_OUTER_NAMES)
    if not config.num_registers:
        del names["register_tokens"]
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}.", f"encoder.layer.{i}."
        for layer, their_layer in {**_BLOCK_NAMES, **_FFN_NAMES[config.ffn]}.items():
            for part in ("weight", "bias"):
                names[f"{ours}{layer}.{part}"] = f"{theirs}{their_layer}.{part}"
        for number in (1, 2):
            names[f"{ours}ls{number}.gamma"] = f"{theirs}layer_scale{number}.lambda1"
    return names


def _fused_names(config: ViTConfig) -> dict[str, tuple[str, ...]]:
    """Return Hugging Face's three names for each `qkv` of ours, which holds them one on another."""
    return {
        f"blocks.{i}.attn.qkv.{part}": tuple(
            f"encoder.layer.{i}.{name}.{part}" for name in _QKV_NAMES
        )
        for i in range(config.depth)
        for part in ("weight", "bias")
    }


def _check_names(tensors: Mapping[str, Tensor], expected: set[str], what: str) -> None:
    missing, unknown = sorted(expected - set(tensors)), sorted(set(tensors) - expected)
    if missing or unknown:
        raise CheckpointError(
            f"{what} has {len(tensors)} of {len(expected)} tensors as they should be called: "
            f"{len(missing)} missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}; "
            "check depth, ffn and num_registers"
        )


def require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights of which one is NaN or infinite: all that they compute would be, too.

    Raises:
        CheckpointError: If there is one, naming its tensor.
    """
    broken = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise CheckpointError(
            f"{what} has weights that are NaN or infinite, in {broken[0]}{more}; the training that "
            "made them has failed, or the file is damaged: take an earlier checkpoint, or copy it "
            "again"
        )


def _is_exact(config: ViTConfig) -> bool:
    """Return whether transformers interpolates positions as the model does."""
    return config.interpolate_offset == 0 and config.is_antialiased == (config.num_registers > 0)


def _refuse_inexact(config: ViTConfig) -> None:
    if not _is_exact(config):
        raise ConfigError(
            f"interpolate_offset={config.interpolate_offset} and antialias={config.antialias} with "
            f"num_registers={config.num_registers}: transformers interpolates positions without an "
            "offset and smooths them with registers only, so the exported model would differ; "
            "train with interpolate_offset=0.0 and antialias=None, or resample the positions to "
            "the size you use (resampled_for_huggingface)"
        )

"""Reading weights from wherever they come, under Meta's names.

    Hugging Face folder   run   checkpoint   .safetensors   .pth
            └──────────────┴────────┴────────────┴───────────┘
                           SourceWeights (backbone, heads, configuration)

Files are told apart by what is in them. What a file does not say of the model is inferred from its
tensors' names and shapes. Nothing that is pickled is run.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from safetensors import SafetensorError
from torch import Tensor

from eosin.errors import CheckpointError, InputError, system_reason
from eosin.models.config import ViTConfig
from eosin.models.heads import rename_legacy_head
from eosin.models.huggingface import import_huggingface, is_our_export
from eosin.models.meta_names import inferred_config, split_network, without_wrappers
from eosin.models.positions import metas_rule
from eosin.models.tensor_file import read_tensors
from eosin.names import get_logger
from eosin.plain import from_plain
from eosin.reading import check_regular

logger = get_logger(__name__)

_TEACHER_FILE = "teacher.safetensors"
_BLOCK_NUMBER = re.compile(r"\.\d+\.")
_NESTED_IN = ("teacher", "model", "state_dict")
"""Where checkpoints keep the weights; some have one in another."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SourceWeights:
    """Weights that were read, under Meta's names."""

    path: Path
    """The file or folder that the tensors are from."""
    format: str
    """What it is, in words."""
    backbone: Mapping[str, Tensor]
    dino_head: Mapping[str, Tensor] | None
    ibot_head: Mapping[str, Tensor] | None
    config: ViTConfig
    """Of the backbone, as the writer of the file computes it."""
    trained_with: ViTConfig
    """The same but for how positions were interpolated in training: facebook/dinov2-* without
    registers were trained with an offset, which transformers has not. Where nothing tells, Meta's
    rule is supposed."""
    is_config_inferred: bool
    """Whether the configuration follows from the tensors: then heads are taken to have 64 channels,
    and positions to be interpolated as in Meta's releases."""
    sha256: str
    """Of the backbone, by `weights_sha256`."""


def read_weights(path: Path) -> SourceWeights:
    """Return the weights in a file or folder, on the CPU.

    It may be a Hugging Face folder of DINOv2, a run or a checkpoint of ours, a `.safetensors` file
    under Meta's names, or what Meta's code saves with torch (a released backbone, the teacher of a
    training), also as its descendants do, such as OpenMidnight. Of a run, the newest checkpoint
    that can be read is taken.

    Raises:
        InputError: If there is no such file, or it is none of these.
        CheckpointError: If it is damaged, or its tensors are not those of one model.
    """
    if not path.exists():
        raise InputError(
            f"{path} does not exist; give a file or folder with weights. A model of the Hugging "
            "Face hub is fetched by 'hf download facebook/dinov2-giant --local-dir dinov2-giant'"
        )
    if not path.is_dir():
        return _from_file(path)
    if (path / "checkpoints").is_dir():
        return _from_run(path)
    if (path / _TEACHER_FILE).is_file():
        return _from_checkpoint(path)
    if (path / "config.json").is_file():
        backbone, config = import_huggingface(path)
        source = _source(path, "Hugging Face folder", {"backbone": backbone}, config)
        return source if is_our_export(path) else replace(source, trained_with=metas_rule(config))
    if (path / ".metadata").is_file():
        raise InputError(
            f"{path} is a checkpoint of torch.distributed.checkpoint; give the run that it is in, "
            "or make one file of it: python -m torch.distributed.checkpoint.format_utils "
            "dcp_to_torch FOLDER FILE.pth"
        )
    raise InputError(
        f"{path} holds no weights: neither config.json (Hugging Face) nor checkpoints (a run) nor "
        f"{_TEACHER_FILE} (a checkpoint) is in it"
    )


def weights_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """Return a digest of names, shapes and float32 values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().float().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _from_run(run: Path) -> SourceWeights:
    checkpoints = sorted(path for path in (run / "checkpoints").glob("step_*") if path.is_dir())
    for checkpoint in reversed(checkpoints):
        try:
            return _from_checkpoint(checkpoint)
        except CheckpointError as error:
            logger.warning("%s is passed over: %s", checkpoint, error)
    raise InputError(f"{run} holds no checkpoint that can be read; train first")


def _from_checkpoint(folder: Path) -> SourceWeights:
    parts = split_network(_safetensors(folder / _TEACHER_FILE), str(folder))
    for above in folder.absolute().parents[:2]:
        config = _run_config(above / "config.json")
        if config is not None:
            return _source(folder, "checkpoint of a run", parts, config)
    return _source(folder, "checkpoint of a run", parts, None)


def _run_config(path: Path) -> ViTConfig | None:
    """Return the model in the settings of a run, None where there are no such settings."""
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    model = from_plain(settings.get("model")) if isinstance(settings, dict) else None
    return model if isinstance(model, ViTConfig) else None


def _from_file(path: Path) -> SourceWeights:
    if path.suffix == ".safetensors":
        tensors, form = _safetensors(path), "safetensors file"
    else:
        tensors, form = _pickled(path), "torch file"
    other = _other_lab(tensors)
    if other is not None:
        raise InputError(f"{path} holds {other}")
    if any(name.startswith(("embeddings.", "dinov2.")) for name in tensors):
        raise InputError(
            f"{path} has Hugging Face's names; give the folder that it is in, with config.json"
        )
    return _source(path, form, split_network(without_wrappers(tensors), str(path)), None)


def _other_lab(tensors: Mapping[str, Tensor]) -> str | None:
    """Return which known kind of model that is not DINOv2 has such names, and what to do."""
    names = {_BLOCK_NUMBER.sub(".0.", name) for name in tensors}
    if any("rope_embed" in name or "storage_tokens" in name for name in names):
        return (
            "a DINOv3 model, whose rotary positions eosin's model does not have; give DINOv2 "
            "weights"
        )
    is_dinov2 = any(name.endswith("mask_token") for name in names)
    if not is_dinov2 and any(name.endswith("blocks.0.attn.qkv.weight") for name in names):
        has_cls = any(name.endswith(("cls_token", "reg_token")) for name in names)
        kind = (
            "a timm vision transformer" if has_cls else "a vision transformer without class token"
        )
        return (
            f"{kind}, without the mask token and layout of DINOv2; give the folder of a DINOv2 "
            "model of transformers, or Meta's file"
        )
    return None


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({system_reason(error)}); it may be damaged: copy it again"
        ) from error


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        check_regular(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged pickle fails with whatever it stumbles on. Of torch's advice only the reason is
        # shown: it goes on to advise loading without the protection.
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be read as weights alone ({reason}); if it is whole, save its "
            "teacher's state dict with torch.save and give that file"
        ) from error
    for key in _NESTED_IN:
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
    if not isinstance(stored, dict) or not stored:
        raise CheckpointError(f"{path} holds no state dict")
    strange = [str(name) for name, value in stored.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(
            f"{path} holds no state dict: {strange[:3]} are no tensors; save its teacher's state "
            "dict with torch.save and give that file"
        )
    return {str(name): tensor for name, tensor in stored.items()}


def _source(
    path: Path, form: str, parts: Mapping[str, Mapping[str, Tensor]], config: ViTConfig | None
) -> SourceWeights:
    backbone = parts["backbone"]
    known = inferred_config(backbone, str(path)) if config is None else config
    heads = {name: rename_legacy_head(part) for name, part in parts.items() if name != "backbone"}
    return SourceWeights(
        path=path,
        format=form,
        backbone=backbone,
        dino_head=heads.get("dino_head"),
        ibot_head=heads.get("ibot_head"),
        config=known,
        trained_with=known,
        is_config_inferred=config is None,
        sha256=weights_sha256(backbone),
    )

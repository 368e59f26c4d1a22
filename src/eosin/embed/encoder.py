"""Encoders: RGB images in, tokens out, with all that a model wants done to pixels inside."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from eosin.errors import CheckpointError, InputError, system_reason
from eosin.loader import to_model_input
from eosin.models.config import ViTConfig
from eosin.models.huggingface import import_huggingface
from eosin.models.vit import Tokens, VisionTransformer
from eosin.models.weights import read_weights, weights_sha256
from eosin.train.checkpoint import load_teacher
from eosin.train.config import TrainConfig
from eosin.train.run_folder import RunFolder
from eosin.transforms.resize import resize


class Encoder(ABC):
    """Turns images into tokens; what it wants done to pixels is inside."""

    name: str
    weights_sha256: str
    """Of all weights by name, whatever file they came from."""
    input_size_px: int
    """Side of the square that images are resized to."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @abstractmethod
    def __call__(self, images: UInt8[np.ndarray, "batch height width 3"]) -> Tokens:
        """Return the tokens of RGB images, resized and normalised here; no gradients."""


@final
class ViTEncoder(Encoder):
    """One of our vision transformers."""

    def __init__(
        self,
        name: str,
        state_dict: Mapping[str, Tensor],
        config: ViTConfig,
        *,
        input_size_px: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | None = None,
    ) -> None:
        """Build the model and give it its weights.

        Raises:
            CheckpointError: If the weights are not those of such a model.
        """
        self.name = name
        self.weights_sha256 = weights_sha256(state_dict)
        self.input_size_px = input_size_px
        self.mean, self.std = mean, std
        self.device = device or torch.device("cpu")
        self._model = VisionTransformer(config)
        try:
            self._model.load_state_dict(dict(state_dict))
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights of {name} do not fit their configuration ({error}); export or copy "
                "them again"
            ) from error
        self._model.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, images: UInt8[np.ndarray, "batch height width 3"]) -> Tokens:
        size = self.input_size_px
        fitting = images
        if images.shape[1:3] != (size, size):
            fitting = np.stack([resize(image, size) for image in images])
        pixels = to_model_input(torch.from_numpy(fitting), self.mean, self.std, self.device)
        tokens: Tokens = self._model(pixels)
        return tokens


def load_encoder(path: Path, device: torch.device | None = None) -> ViTEncoder:
    """Return the encoder of a run's newest teacher, of one of its checkpoints, or of an export.

    Args:
        path: A run's folder, a folder in it that holds a teacher (`best`, `checkpoints/step_*`), or
            a Hugging Face folder.
        device: Where it computes; None is the CPU.

    Raises:
        InputError: If the folder is none of these.
    """
    if (path / "checkpoints").is_dir():
        return _from_run(path, device)
    if (path / "teacher.safetensors").is_file():
        return _from_checkpoint(path, device)
    if (path / "config.json").is_file():
        return _from_huggingface(path, device)
    raise InputError(
        f"{path} is neither a run (it has no checkpoints) nor a checkpoint (it has no "
        "teacher.safetensors) nor a Hugging Face folder (it has no config.json); give one that "
        "'eosin train' or 'eosin export' wrote"
    )


def _from_run(path: Path, device: torch.device | None) -> ViTEncoder:
    run = RunFolder(path)
    step, state_dict = load_teacher(run.checkpoints)
    return teacher_encoder(f"{path.name} step {step}", state_dict, run.train_config, device)


def _from_checkpoint(path: Path, device: torch.device | None) -> ViTEncoder:
    runs = [above for above in path.absolute().parents[:2] if (above / "config.json").is_file()]
    if not runs:
        raise InputError(
            f"{path} is in no run, whose config.json says how images are prepared; put it back "
            "into its run, or give an export"
        )
    name = f"{runs[0].name} {path.name}"
    return teacher_encoder(
        name, read_weights(path).backbone, RunFolder(runs[0]).train_config, device
    )


def teacher_encoder(
    name: str,
    state_dict: Mapping[str, Tensor],
    config: TrainConfig,
    device: torch.device | None = None,
) -> ViTEncoder:
    """Return the encoder of a backbone of a run, which prepares images as the run does."""
    return ViTEncoder(
        name,
        state_dict,
        config.model,
        input_size_px=config.data.global_px,
        mean=config.data.mean,
        std=config.data.std,
        device=device,
    )


def _from_huggingface(path: Path, device: torch.device | None) -> ViTEncoder:
    state_dict, config = import_huggingface(path)
    try:
        processor = json.loads((path / "preprocessor_config.json").read_text())
        input_size_px = int(processor["crop_size"]["height"])
        mean, std = tuple(processor["image_mean"]), tuple(processor["image_std"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path / 'preprocessor_config.json'} does not say how images are prepared "
            f"({system_reason(error)})"
        ) from error
    return ViTEncoder(
        path.name,
        state_dict,
        config,
        input_size_px=input_size_px,
        mean=mean,
        std=std,
        device=device,
    )

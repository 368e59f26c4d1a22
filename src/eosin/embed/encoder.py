"""Encoders: RGB images in, tokens out, with all that a model wants done to pixels inside."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from eosin.errors import CheckpointError, ConfigError, InputError
from eosin.loader import to_model_input
from eosin.models.config import ViTConfig
from eosin.models.huggingface import import_huggingface, require_finite
from eosin.models.image_processor import ImagePreparation, read_preparation
from eosin.models.vit import Tokens, VisionTransformer
from eosin.models.weights import read_weights, weights_sha256
from eosin.train.checkpoint import load_teacher
from eosin.train.config import TrainConfig
from eosin.train.run_folder import RunFolder
from eosin.transforms.base import Image


class Encoder(ABC):
    """Turns images into tokens; what it wants done to pixels is inside."""

    name: str
    weights_sha256: str
    """Of all weights by name, whatever file they came from."""
    input_size_px: int
    """Side of the square that images are resized to."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def prepare(self, image: Image) -> Image:
        """Return an RGB image of any size as the square that the model gets, in bytes.

        Raises:
            InputError: If the model's rule gives no square of it.
        """
        preparation = ImagePreparation(
            input_size_px=self.input_size_px, mean=self.mean, std=self.std
        )
        return preparation.prepare(image)

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
        preparation: ImagePreparation | None = None,
    ) -> None:
        """Build the model and give it its weights.

        Args:
            name: For people.
            state_dict: Under Meta's names.
            config: Of the model.
            input_size_px: Side of the square that the model gets.
            mean: Of each channel, on a scale where white is 1.
            std: As `mean`.
            device: Where it computes; None is the CPU.
            preparation: How other images become such a square; by eosin's own rule when None.

        Raises:
            CheckpointError: If the weights are not those of such a model, or not finite.
        """
        require_finite(state_dict, name)
        self.name = name
        self.weights_sha256 = weights_sha256(state_dict)
        self.input_size_px = input_size_px
        self.mean, self.std = mean, std
        self.device = device or torch.device("cpu")
        self._preparation = preparation or ImagePreparation(
            input_size_px=input_size_px, mean=mean, std=std
        )
        # Without memory until the weights come: a configuration may say any size.
        with torch.device("meta"):
            self._model = VisionTransformer(config)
        try:
            whole = {name: tensor.float() for name, tensor in state_dict.items()}
            self._model.load_state_dict(whole, assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights of {name} do not fit their configuration ({error}); export or copy "
                "them again"
            ) from error
        self._model.to(self.device).eval()

    def prepare(self, image: Image) -> Image:
        return self._preparation.prepare(image)

    @torch.inference_mode()
    def __call__(self, images: UInt8[np.ndarray, "batch height width 3"]) -> Tokens:
        fitting = images
        if images.shape[1:3] != (self.input_size_px, self.input_size_px):
            fitting = np.stack([self.prepare(image) for image in images])
        pixels = to_model_input(torch.from_numpy(fitting), self.mean, self.std, self.device)
        tokens: Tokens = self._model(pixels)
        return tokens


def load_encoder(
    path: Path,
    device: torch.device | None = None,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> ViTEncoder:
    """Return the encoder of a run's newest teacher, of one of its checkpoints, or of an export.

    Args:
        path: A run's folder, a folder in it that holds a teacher (`best`, `checkpoints/step_*`), or
            a Hugging Face folder.
        device: Where it computes; None is the CPU.
        mean: Of each colour channel, on a scale where white is 1: goes before what a Hugging Face
            folder says, and is needed where it says nothing. A run knows its own.
        std: As `mean`.

    Raises:
        InputError: If the folder is none of these.
        CheckpointError: If weights are missing, of another model, or not finite.
    """
    is_huggingface = (path / "config.json").is_file() and not (path / "checkpoints").is_dir()
    if (mean or std) and (not is_huggingface or (path / "teacher.safetensors").is_file()):
        raise ConfigError(
            f"{path} is no Hugging Face folder; mean and std (--mean, --std) are for those alone"
        )
    if (path / "checkpoints").is_dir():
        return _from_run(path, device)
    if (path / "teacher.safetensors").is_file():
        return _from_checkpoint(path, device)
    if (path / "config.json").is_file():
        return _from_huggingface(path, device, mean, std)
    if not path.exists() and len(path.parts) == 2:
        raise InputError(
            f"{path} does not exist here; a model of the Hugging Face hub of that name is fetched "
            f"by: hf download {path} --local-dir {path.name}"
        )
    if not path.exists():
        raise InputError(f"{path} does not exist; give the folder of a run or of a model")
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


def _from_huggingface(
    path: Path,
    device: torch.device | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> ViTEncoder:
    state_dict, config = import_huggingface(path)
    preparation = read_preparation(path, image_size_px=config.image_size, mean=mean, std=std)
    size = preparation.input_size_px
    if size % config.patch_size:
        raise InputError(
            f"{path}: images come to {size} px, which is no multiple of the model's patches of "
            f"{config.patch_size} px; mend size or crop_size in preprocessor_config.json"
        )
    return ViTEncoder(
        path.name,
        state_dict,
        config,
        input_size_px=size,
        mean=preparation.mean,
        std=preparation.std,
        device=device,
        preparation=preparation,
    )

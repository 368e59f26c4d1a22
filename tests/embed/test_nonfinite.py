"""Row 6 of the faults: weights and features that are NaN or infinite go nowhere without a word."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from embed.test_extract import MeanColour, extraction
from eosin.embed.encoder import load_encoder
from eosin.embed.extract import embed_slides
from eosin.errors import CheckpointError
from eosin.journey import export_run
from eosin.models.vit import Tokens, VisionTransformer
from eosin.plain import to_plain
from train.tiny import tiny_config

CONFIG = tiny_config(steps=2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoints" / "step_00000001"
    checkpoint.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(to_plain(CONFIG)))
    backbone = VisionTransformer(replace(CONFIG.model, drop_path_rate=0.0))
    save_file(
        nn.ModuleDict({"backbone": backbone}).state_dict(), checkpoint / "teacher.safetensors"
    )
    return folder


def spoil(file: Path, name: str, value: float) -> None:
    tensors = load_file(file)
    tensors[name].view(-1)[-1] = value
    save_file(tensors, file)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_no_encoder_and_no_export(
    run: Path, tmp_path: Path, value: float
):
    teacher = run / "checkpoints" / "step_00000001" / "teacher.safetensors"
    spoil(teacher, "backbone.blocks.1.mlp.fc1.weight", value)
    with pytest.raises(CheckpointError, match=r"NaN or infinite, in blocks\.1\.mlp\.fc1\.weight"):
        load_encoder(run)
    with pytest.raises(
        CheckpointError, match=r"NaN or infinite, in encoder\.layer\.1\.mlp\.fc1\.weight"
    ):
        export_run(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_export_that_was_damaged_is_refused(run: Path, tmp_path: Path):
    export_run(run, tmp_path / "model")
    spoil(tmp_path / "model" / "model.safetensors", "layernorm.bias", float("nan"))
    with pytest.raises(CheckpointError, match=r"NaN or infinite, in norm\.bias"):
        load_encoder(tmp_path / "model")


def test_the_mean_of_teachers_of_which_one_is_broken_is_not_exported(run: Path, tmp_path: Path):
    first = run / "checkpoints" / "step_00000001" / "teacher.safetensors"
    second = run / "checkpoints" / "step_00000002" / "teacher.safetensors"
    second.parent.mkdir()
    second.write_bytes(first.read_bytes())
    spoil(first, "backbone.norm.weight", float("nan"))
    with pytest.raises(CheckpointError, match=r"layernorm\.weight"):
        export_run(run, tmp_path / "mean", num_averaged=2)
    export_run(run, tmp_path / "newest")


class Overflowing(MeanColour):
    """Says finite numbers of which some are too large for half precision, or are none."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def __call__(self, images: np.ndarray) -> Tokens:
        tokens = super().__call__(images)
        return tokens._replace(patches=torch.full_like(tokens.patches, self.value))


@pytest.mark.parametrize(
    ("value", "dtype", "status"),
    [
        (float("nan"), "float32", "failed"),
        (float("inf"), "float32", "failed"),
        (1e6, "float16", "failed"),
        (1e6, "float32", "embedded"),
        (6e4, "float16", "embedded"),
    ],
)
def test_a_slide_of_which_the_features_are_not_finite_fails_by_name(
    tmp_path: Path, phantoms: list[Path], value: float, dtype: str, status: str
):
    how = replace(extraction(), dtype=dtype)
    (outcome,) = embed_slides(Overflowing(value), [str(phantoms[0])], tmp_path, how)
    assert outcome.status == status
    assert outcome.slide_path == str(phantoms[0])
    if status == "failed":
        assert f"NaN or too large for {dtype}" in outcome.reason
        assert list(tmp_path.glob("*.h5")) == []

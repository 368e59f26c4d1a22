import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from eosin.embed.encoder import load_encoder
from eosin.errors import CheckpointError, InputError
from eosin.models.pooling import pooled
from eosin.models.vit import VisionTransformer
from eosin.plain import to_plain
from train.tiny import tiny_config

CONFIG = tiny_config(steps=2)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 56, 56, 3), dtype=np.uint8)


def write_teacher(folder: Path, seed: int) -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = VisionTransformer(replace(CONFIG.model, drop_path_rate=0.0)).eval()
    folder.mkdir(parents=True)
    save_file(nn.ModuleDict({"backbone": backbone}).state_dict(), folder / "teacher.safetensors")
    return backbone


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "a run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(to_plain(CONFIG)))
    return folder


def test_a_run_is_its_newest_teacher_and_a_checkpoint_its_own(run: Path):
    write_teacher(run / "checkpoints" / "step_00000001", seed=1)
    write_teacher(run / "checkpoints" / "step_00000002", seed=2)
    newest = load_encoder(run)
    first, second = (load_encoder(run / "checkpoints" / f"step_0000000{i}") for i in (1, 2))
    assert newest.weights_sha256 == second.weights_sha256 != first.weights_sha256
    assert newest.name == "a run step 2"
    assert first.name == "a run step_00000001"
    assert first.input_size_px == newest.input_size_px == CONFIG.data.global_px


def test_the_best_teacher_of_a_run_is_an_encoder_that_prepares_images_as_the_run_did(run: Path):
    backbone = write_teacher(run / "best", seed=3)
    encoder = load_encoder(run / "best")
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (CONFIG.data.mean, CONFIG.data.std))
    with torch.no_grad():
        expected = backbone((pixels - mean) / std)
    assert torch.allclose(pooled(encoder(IMAGES)), pooled(expected), atol=1e-5)


def test_a_teacher_that_was_taken_out_of_its_run_is_refused(tmp_path: Path):
    write_teacher(tmp_path / "deep" / "down" / "alone", seed=1)
    with pytest.raises(InputError, match="in no run"):
        load_encoder(tmp_path / "deep" / "down" / "alone")


def test_weights_that_do_not_fit_their_configuration_are_refused_by_name(run: Path):
    write_teacher(run / "best", seed=1)
    deeper = replace(CONFIG, model=replace(CONFIG.model, depth=CONFIG.model.depth + 1))
    (run / "config.json").write_text(json.dumps(to_plain(deeper)))
    with pytest.raises(CheckpointError, match=r"weights of a run best do not fit"):
        load_encoder(run / "best")

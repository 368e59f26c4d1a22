"""What a run starts from: drawn weights, a backbone from elsewhere, or another run."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from eosin.errors import CheckpointError, ConfigError
from eosin.models.huggingface import export_huggingface
from eosin.models.vit import VisionTransformer
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from train.test_loop import untimed
from train.tiny import tiny_config

CPU = Site(device="cpu", num_threads=1)


def still(**changes: object) -> TrainConfig:
    """Return a run whose first step changes nothing, so that what it started from can be seen."""
    config = tiny_config(steps=2, **changes)
    return replace(config, optim=replace(config.optim, warmup_steps=2, weight_decay=0.0))


def teacher_at_start(config: TrainConfig, slides: list[Path], out: Path, weights: Path) -> dict:
    """Return the teacher after one step at rate 0."""
    config = replace(config, checkpoint_every_steps=1, keep_checkpoints=2)
    run = train(config, slides, out, site=CPU, weights=weights)
    return load_file(run.checkpoints / "step_00000001" / "teacher.safetensors")


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    config = tiny_config().model
    network = VisionTransformer(config)
    folder = tmp_path / "pretrained"
    export_huggingface(
        folder, network.state_dict(), config, mean=(0.5,) * 3, std=(0.5,) * 3, card="made here"
    )
    return folder


def test_a_run_starts_from_a_backbone_under_heads_that_are_drawn(
    tmp_path: Path, phantoms: list[Path], pretrained: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    random = train(still(), phantoms, tmp_path / "random", site=CPU)
    teacher = teacher_at_start(still(start="backbone"), phantoms, tmp_path / "run", pretrained)
    torch.manual_seed(5)
    expected = VisionTransformer(tiny_config().model).state_dict()
    for name, tensor in expected.items():
        assert torch.equal(teacher[f"backbone.{name}"], tensor)
    drawn = load_file(random.checkpoints / "step_00000002" / "teacher.safetensors")
    assert teacher["dino_head.mlp.0.weight"].shape == drawn["dino_head.mlp.0.weight"].shape
    assert "tensors loaded" in caplog.text
    assert "crops of 56 px differ by 0.00 %" in caplog.text
    record = json.loads((tmp_path / "run" / "start.json").read_text())
    assert record["position_shift"]["56"] == pytest.approx(0, abs=1e-9)
    assert len(record["loaded"]) == len(expected)


def test_a_run_starts_from_the_backbone_and_heads_of_another(tmp_path: Path, phantoms: list[Path]):
    first = train(tiny_config(steps=3), phantoms, tmp_path / "first", site=CPU)
    teacher = teacher_at_start(still(start="run"), phantoms, tmp_path / "second", first.path)
    before = load_file(first.checkpoints / "step_00000003" / "teacher.safetensors")
    assert teacher.keys() == before.keys()
    assert all(torch.equal(teacher[name], before[name]) for name in before)


def test_crops_of_another_size_get_positions_of_the_table_that_is_kept(
    tmp_path: Path, phantoms: list[Path], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    model = replace(tiny_config().model, image_size=84, interpolate_offset=0.1, antialias=False)
    large = tiny_config(steps=2, model=model)
    first = train(large, phantoms, tmp_path / "first", site=CPU)
    exact = replace(model, interpolate_offset=0.0, antialias=None)
    second = still(model=exact, start="run")
    teacher = teacher_at_start(second, phantoms, tmp_path / "second", first.path)
    assert teacher["backbone.pos_embed"].shape == (1, 1 + 6 * 6, 24)
    shift = json.loads((tmp_path / "second" / "start.json").read_text())["position_shift"]
    assert set(shift) == {"56", "28"}
    assert all(0.001 < value < 1 for value in shift.values())


def test_a_run_that_goes_on_needs_its_weights_no_more(
    tmp_path: Path, phantoms: list[Path], pretrained: Path
):
    config = still(start="backbone")
    whole = train(config, phantoms, tmp_path / "run", site=CPU, weights=pretrained)
    assert untimed(train(config, phantoms, tmp_path / "run", site=CPU)) == untimed(whole)


def test_weights_that_are_missing_or_would_not_be_used_are_refused(
    tmp_path: Path, phantoms: list[Path], pretrained: Path
):
    with pytest.raises(ConfigError, match="start='backbone' needs the weights of a backbone"):
        train(still(start="backbone"), phantoms, tmp_path / "a", site=CPU)
    with pytest.raises(ConfigError, match="start='run' needs the weights of a run"):
        train(still(start="run"), phantoms, tmp_path / "b", site=CPU)
    with pytest.raises(ConfigError, match="would not be used"):
        train(still(), phantoms, tmp_path / "c", site=CPU, weights=pretrained)


def test_weights_of_another_shape_are_refused_and_the_folder_stays_free(
    tmp_path: Path, phantoms: list[Path], pretrained: Path
):
    wider = replace(tiny_config().model, embed_dim=32)
    with pytest.raises(CheckpointError, match="does not fit this model"):
        train(still(start="backbone", model=wider), phantoms, tmp_path / "run", weights=pretrained)
    assert not RunFolder(tmp_path / "run").exists()
    train(still(start="backbone"), phantoms, tmp_path / "run", site=CPU, weights=pretrained)

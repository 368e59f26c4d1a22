"""Files are written here under the names that their writers give.

Files that the reference itself wrote (facebookresearch/dinov2 b8931f7: a backbone, and the teacher
of a training with `block_chunks=4` and both heads) were read outside these tests, and the outputs
differed from the reference's by exactly 0.0.
"""

import argparse
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from eosin.errors import CheckpointError, InputError
from eosin.models.config import HeadConfig, ViTConfig
from eosin.models.heads import DINOHead
from eosin.models.huggingface import export_huggingface
from eosin.models.meta_names import inferred_config
from eosin.models.vit import VisionTransformer
from eosin.models.weights import SourceWeights, read_weights, weights_sha256
from eosin.plain import to_plain
from models.deterministic import fill

SMALL = ViTConfig(embed_dim=64, depth=4, num_heads=1, image_size=56, num_registers=4)
HEAD = HeadConfig(num_prototypes=20, hidden_dim=32, bottleneck_dim=16)
LENGTH, DIRECTION = (f"last_layer.parametrizations.weight.original{i}" for i in (0, 1))


def backbone(config: ViTConfig = SMALL) -> dict[str, Tensor]:
    model = VisionTransformer(config)
    fill(model)
    return model.state_dict()


def network(config: ViTConfig = SMALL) -> dict[str, dict[str, Tensor]]:
    heads = {name: DINOHead(config.embed_dim, HEAD) for name in ("dino_head", "ibot_head")}
    return {
        "backbone": backbone(config),
        **{name: head.state_dict() for name, head in heads.items()},
    }


def joined(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}.{name}": x for part, tensors in parts.items() for name, x in tensors.items()}


def chunked(tensors: Mapping[str, Tensor], blocks_a_chunk: int) -> dict[str, Tensor]:
    """Name blocks as BlockChunk does: by the chunk, then by the number that they have in all."""

    def renamed(name: str) -> str:
        outer, block, *rest = name.split(".")
        chunk = [str(int(block) // blocks_a_chunk)] if outer == "blocks" else []
        return ".".join([outer, *chunk, block, *rest])

    return {renamed(n) if "." in n else n: tensor for n, tensor in tensors.items()}


def legacy(head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    old = {LENGTH: "last_layer.weight_g", DIRECTION: "last_layer.weight_v"}
    return {old.get(name, name): tensor for name, tensor in head.items()}


def assert_same(found: Mapping[str, Tensor] | None, expected: Mapping[str, Tensor]) -> None:
    assert found is not None
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def assert_is_network(source: SourceWeights, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    assert_same(source.backbone, parts["backbone"])
    assert_same(source.dino_head, parts["dino_head"])
    assert_same(source.ibot_head, parts["ibot_head"])


def write_run(folder: Path, *steps: int, config: ViTConfig = SMALL) -> list[dict]:
    """Write a run's checkpoints whose teachers differ, and return their networks."""
    networks = []
    for step in steps:
        parts = network(config)
        parts["backbone"]["norm.bias"] = torch.full((config.embed_dim,), float(step))
        checkpoint = folder / "checkpoints" / f"step_{step:08d}"
        checkpoint.mkdir(parents=True)
        save_file(joined(parts), checkpoint / "teacher.safetensors")
        networks.append(parts)
    (folder / "config.json").write_text(json.dumps({"model": to_plain(config), "steps": 9}))
    return networks


def test_a_released_backbone_is_read_by_its_bare_names(tmp_path: Path):
    torch.save(backbone(), tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    source = read_weights(tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    assert_same(source.backbone, backbone())
    assert (source.dino_head, source.ibot_head) == (None, None)
    assert source.format == "torch file"
    assert source.sha256 == weights_sha256(backbone())


def test_the_old_format_of_torch_is_read_too(tmp_path: Path):
    torch.save(backbone(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same(read_weights(tmp_path / "old.pth").backbone, backbone())


def test_the_teacher_of_a_training_is_read_with_chunks_and_old_heads(tmp_path: Path):
    # As OpenMidnight f7d5a64 writes eval/training_*/teacher_checkpoint.pth, with block_chunks 4.
    parts = network()
    stored = {
        "backbone": chunked(parts["backbone"], blocks_a_chunk=1),
        "dino_head": legacy(parts["dino_head"]),
        "ibot_head": legacy(parts["ibot_head"]),
    }
    torch.save({"teacher": joined(stored)}, tmp_path / "teacher_checkpoint.pth")
    assert_is_network(read_weights(tmp_path / "teacher_checkpoint.pth"), parts)


@pytest.mark.parametrize(
    "wrapped",
    ["module.{}", "_orig_mod.{}", "_fsdp_wrapped_module.{}", "_fsdp_wrapped_module.module.{}"],
)
def test_names_that_wrappers_add_are_taken_off_wherever_they_stand(tmp_path: Path, wrapped: str):
    parts = network()
    stored = joined(parts | {"backbone": chunked(parts["backbone"], blocks_a_chunk=2)})
    before, middle = wrapped.format(""), wrapped.format("blocks.0.")
    names = {n: before + n.replace("backbone.blocks.0.", f"backbone.{middle}") for n in stored}
    torch.save({"teacher": {names[n]: x for n, x in stored.items()}}, tmp_path / "t.pth")
    assert_is_network(read_weights(tmp_path / "t.pth"), parts)


def test_of_a_whole_training_the_teacher_is_taken(tmp_path: Path):
    parts = network()
    student = joined(
        {part: {n: x + 1 for n, x in tensors.items()} for part, tensors in parts.items()}
    )
    stored = {f"student.{n}": x for n, x in student.items()}
    stored |= {f"teacher.{n}": x for n, x in joined(parts).items()}
    stored["dino_loss.center"] = torch.zeros(1, 20)
    torch.save({"model": stored, "iteration": 3}, tmp_path / "model_0000003.rank_0.pth")
    assert_is_network(read_weights(tmp_path / "model_0000003.rank_0.pth"), parts)


def test_a_hugging_face_folder_says_its_configuration(tmp_path: Path):
    config = replace(SMALL, num_heads=2)
    export_huggingface(
        tmp_path / "hf", backbone(config), config, mean=(0.5,) * 3, std=(0.5,) * 3, card=""
    )
    source = read_weights(tmp_path / "hf")
    assert_same(source.backbone, backbone(config))
    assert source.config == config
    assert not source.is_config_inferred


def test_a_folder_of_another_writer_is_supposed_to_be_trained_by_metas_rule(tmp_path: Path):
    config = replace(SMALL, num_registers=0)
    export_huggingface(
        tmp_path / "hf", backbone(config), config, mean=(0.5,) * 3, std=(0.5,) * 3, card=""
    )
    assert read_weights(tmp_path / "hf").trained_with == config
    settings = json.loads((tmp_path / "hf" / "config.json").read_text())
    del settings["interpolate_offset"]
    (tmp_path / "hf" / "config.json").write_text(json.dumps(settings))
    source = read_weights(tmp_path / "hf")
    assert source.config == config
    assert source.trained_with == replace(config, interpolate_offset=0.1, antialias=False)


def test_the_newest_checkpoint_of_a_run_is_read_with_its_heads(tmp_path: Path):
    config = replace(SMALL, num_heads=2, interpolate_offset=0.1)
    *_, newest = write_run(tmp_path, 1, 2, config=config)
    source = read_weights(tmp_path)
    assert_is_network(source, newest)
    assert source.config == config
    assert not source.is_config_inferred
    assert source.path.name == "step_00000002"


def test_one_checkpoint_of_a_run_is_read_when_it_is_named(tmp_path: Path):
    first, _ = write_run(tmp_path, 1, 2)
    checkpoint = tmp_path / "checkpoints" / "step_00000001"
    assert_is_network(read_weights(checkpoint), first)
    assert not read_weights(checkpoint).is_config_inferred
    file = read_weights(checkpoint / "teacher.safetensors")
    assert_is_network(file, first)
    assert file.is_config_inferred


def test_a_checkpoint_without_its_run_is_read_by_what_its_shapes_tell(tmp_path: Path):
    parts, *_ = write_run(tmp_path / "run", 1)
    alone = tmp_path / "elsewhere" / "alone"
    alone.parent.mkdir()
    (tmp_path / "run" / "checkpoints" / "step_00000001").rename(alone)
    source = read_weights(alone)
    assert_is_network(source, parts)
    assert source.is_config_inferred


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    first, _ = write_run(tmp_path, 1, 2)
    newest = tmp_path / "checkpoints" / "step_00000002" / "teacher.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        assert_is_network(read_weights(tmp_path), first)
    assert "step_00000002 is passed over" in caplog.text
    newest.parent.with_name("step_00000001").joinpath("teacher.safetensors").unlink()
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("num_registers", "offset", "antialias"), [(0, 0.1, False), (4, 0.0, True)]
)
@pytest.mark.parametrize(("ffn", "mlp_ratio"), [("mlp", 4), ("swiglu", 4), ("mlp", 2)])
def test_the_configuration_follows_from_names_and_shapes(
    num_registers: int, offset: float, antialias: bool, ffn: str, mlp_ratio: int
):
    config = ViTConfig(
        embed_dim=128,
        depth=3,
        num_heads=2,
        ffn=ffn,
        mlp_ratio=mlp_ratio,
        patch_size=16,
        image_size=64,
        num_registers=num_registers,
        interpolate_offset=offset,
        antialias=antialias,
    )
    assert inferred_config(VisionTransformer(config).state_dict(), "here") == config


def test_what_no_configuration_has_is_not_guessed():
    tensors = backbone()
    narrow = VisionTransformer(replace(SMALL, embed_dim=48)).state_dict()
    with pytest.raises(CheckpointError, match="48 channels"):
        inferred_config(narrow, "here")
    with pytest.raises(CheckpointError, match="15 positions"):
        inferred_config({**tensors, "pos_embed": torch.zeros(1, 16, 64)}, "here")
    odd = {**tensors, "blocks.0.mlp.fc2.weight": torch.zeros(64, 100)}
    with pytest.raises(CheckpointError, match="100 channels inside"):
        inferred_config(odd, "here")
    del tensors["pos_embed"]
    with pytest.raises(CheckpointError, match=r"here holds no vision transformer.*pos_embed"):
        inferred_config(tensors, "here")


def test_nothing_that_is_pickled_is_run(tmp_path: Path):
    args = argparse.Namespace(arch="vit_small")
    torch.save({"teacher": backbone(), "args": args}, tmp_path / "dino.pth")
    with pytest.raises(CheckpointError, match=r"dino\.pth cannot be read as weights alone"):
        read_weights(tmp_path / "dino.pth")


def test_files_that_hold_no_weights_say_so(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere does not exist.*hf download"):
        read_weights(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no weights"):
        read_weights(tmp_path)
    for name in ("noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"not a tensor in sight")
        with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
            read_weights(tmp_path / name)
    torch.save({"optimizer": {"lr": 0.1}, "step": 3}, tmp_path / "optimizer.pth")
    with pytest.raises(CheckpointError, match=r"\['optimizer', 'step'\] are no tensors"):
        read_weights(tmp_path / "optimizer.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_weights(tmp_path / "list.pth")
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"no network of DINOv2.*conv1\.weight"):
        read_weights(tmp_path / "resnet.pth")


def test_a_file_under_hugging_faces_names_is_asked_for_by_its_folder(tmp_path: Path):
    export_huggingface(tmp_path / "hf", backbone(), SMALL, mean=(0.5,) * 3, std=(0.5,) * 3, card="")
    with pytest.raises(InputError, match="give the folder"):
        read_weights(tmp_path / "hf" / "model.safetensors")


def test_shards_of_one_rank_are_not_taken_for_a_backbone(tmp_path: Path):
    torch.save({"teacher": {"backbone._flat_param": torch.zeros(9)}}, tmp_path / "rank_0.pth")
    with pytest.raises(CheckpointError, match="_flat_param"):
        read_weights(tmp_path / "rank_0.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_damaged_file_is_named_whatever_torch_stumbles_on(tmp_path: Path, is_zip: bool):
    torch.save(backbone(), tmp_path / "whole.pth", _use_new_zipfile_serialization=is_zip)
    whole = (tmp_path / "whole.pth").read_bytes()
    damaged = tmp_path / "damaged.pth"
    for size in range(1, len(whole), len(whole) // 60):
        damaged.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"damaged\.pth"):
            read_weights(damaged)
    rng = random.Random(0)
    for _ in range(100):
        damaged.write_bytes(b"\x80\x02" + rng.randbytes(40))
        with pytest.raises(CheckpointError, match=r"damaged\.pth"):
            read_weights(damaged)

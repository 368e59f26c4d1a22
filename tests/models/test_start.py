import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eosin.errors import CheckpointError
from eosin.models.config import HeadConfig, ViTConfig
from eosin.models.heads import DINOHead
from eosin.models.positions import metas_rule
from eosin.models.start import LoadReport, load_backbone, start_from
from eosin.models.vit import VisionTransformer
from eosin.models.weights import SourceWeights, read_weights
from models.deterministic import fill, sines

SMALL = ViTConfig(embed_dim=64, depth=2, num_heads=1, image_size=56)
HEAD = HeadConfig(num_prototypes=20, hidden_dim=32, bottleneck_dim=16)


def network(
    config: ViTConfig = SMALL, dino: HeadConfig = HEAD, ibot: HeadConfig | None = HEAD
) -> nn.ModuleDict:
    parts: dict[str, nn.Module] = {
        "backbone": VisionTransformer(config),
        "dino_head": DINOHead(config.embed_dim, dino),
    }
    if ibot is not None:
        parts["ibot_head"] = DINOHead(config.embed_dim, ibot)
    return nn.ModuleDict(parts)


def filled(**kwargs) -> nn.ModuleDict:
    parts = network(**kwargs)
    fill(parts)
    return parts


def written(path: Path, parts: nn.Module) -> SourceWeights:
    save_file(parts.state_dict(), path / "teacher.safetensors")
    return read_weights(path / "teacher.safetensors")


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def with_heads(source: SourceWeights, num_heads: int) -> SourceWeights:
    told = replace(source.config, num_heads=num_heads)
    return replace(source, config=told, is_config_inferred=False)


def test_every_tensor_of_a_backbone_is_loaded_and_reported(tmp_path: Path):
    before = filled()["backbone"]
    model = VisionTransformer(SMALL)
    report = load_backbone(model, written(tmp_path, before))
    assert same(model.state_dict(), before.state_dict())
    assert set(report.loaded) == {f"backbone.{name}" for name in before.state_dict()}
    assert (report.resampled, report.missing, report.unexpected) == ((), (), ())
    assert "backbone: 35 of 35 tensors loaded." in report.summary()
    assert str(tmp_path) in report.summary()


def test_the_heads_of_a_source_are_left_out_of_a_backbone_and_said_to_be(tmp_path: Path):
    report = load_backbone(VisionTransformer(SMALL), written(tmp_path, filled()))
    assert len(report.unexpected) == 16
    assert "dino_head: 8 tensors of the source are not used." in report.summary()


def test_a_run_gives_backbone_and_both_heads_to_student_and_teacher(tmp_path: Path):
    before, student, teacher = filled(), network(), network()
    report = start_from(student, teacher, written(tmp_path, before), with_heads=True)
    assert same(student.state_dict(), before.state_dict())
    assert same(teacher.state_dict(), before.state_dict())
    assert set(report.loaded) == set(before.state_dict())
    assert (report.missing, report.unexpected) == ((), ())


def test_a_backbone_alone_leaves_heads_as_drawn_and_the_teacher_the_students_copy(tmp_path: Path):
    before, student, teacher = filled(), network(), network()
    drawn = copy.deepcopy(student["dino_head"].state_dict())
    report = start_from(student, teacher, written(tmp_path, before["backbone"]), with_heads=False)
    assert same(student["backbone"].state_dict(), before["backbone"].state_dict())
    assert same(student["dino_head"].state_dict(), drawn)
    assert same(teacher.state_dict(), student.state_dict())
    assert len(report.missing) == 16
    assert "ibot_head: 8 tensors stay as drawn." in report.summary()


@pytest.mark.parametrize("num_registers", [0, 4])
def test_positions_of_another_size_are_resampled_by_the_sources_rule_with_a_report(
    tmp_path: Path, num_registers: int
):
    config = replace(SMALL, image_size=98, num_registers=num_registers)
    before = VisionTransformer(metas_rule(config)).eval()
    fill(before)
    model = VisionTransformer(replace(config, image_size=56)).eval()
    report = load_backbone(model, written(tmp_path, before))
    assert report.resampled == ("backbone.pos_embed",)
    assert "from 7 x 7 to 4 x 4 positions" in report.summary()
    images = sines(1, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(model(images).patches, before(images).patches)


def test_the_stored_positions_are_kept_where_the_model_stores_as_many(tmp_path: Path):
    before = filled()["backbone"]
    model = VisionTransformer(replace(SMALL, interpolate_offset=0.1))
    report = load_backbone(model, written(tmp_path, before))
    assert report.resampled == ()
    assert torch.equal(model.pos_embed, before.pos_embed)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(SMALL, depth=3), r"backbone\.blocks\.2\.norm1\.weight is missing"),
        (
            replace(SMALL, depth=1),
            r"backbone\.blocks\.1\.attn\.proj\.bias is unknown here.* 10 more",
        ),
        (replace(SMALL, num_registers=4), r"backbone\.register_tokens is missing"),
        (replace(SMALL, embed_dim=128, num_heads=2), r"cls_token is \(1, 1, 64\) there.*128"),
        (replace(SMALL, patch_size=8), r"patch_embed\.proj\.weight is \(64, 3, 14, 14\) there"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name_and_nothing_is_loaded(
    tmp_path: Path, config: ViTConfig, message: str
):
    model = VisionTransformer(config)
    drawn = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=message):
        load_backbone(model, written(tmp_path, filled()["backbone"]))
    assert same(model.state_dict(), drawn)


def test_another_number_of_attention_heads_is_refused_where_the_source_tells_it(tmp_path: Path):
    source = written(tmp_path, filled()["backbone"])
    model = VisionTransformer(replace(SMALL, num_heads=4))
    with pytest.raises(CheckpointError, match="2 heads there and num_heads=4 here"):
        load_backbone(model, with_heads(source, 2))
    assert isinstance(load_backbone(model, source), LoadReport)


def test_heads_that_do_not_fit_are_refused(tmp_path: Path):
    wider = replace(HEAD, num_prototypes=30)
    cases = (
        (filled(), network(dino=wider), r"dino_head\.last_layer.*is \(20, 1\) there and \(30, 1\)"),
        (filled(ibot=None), network(), "it has no ibot_head"),
        (filled(), network(ibot=None), "it has ibot_head and the model has none"),
    )
    for source, student, message in cases:
        with pytest.raises(CheckpointError, match=message):
            start_from(student, copy.deepcopy(student), written(tmp_path, source), with_heads=True)


def test_prototypes_with_lengths_do_not_start_a_head_without(tmp_path: Path):
    student = network(dino=replace(HEAD, trains_lengths=False))
    with pytest.raises(CheckpointError, match="trains_lengths=False"):
        start_from(student, network(), written(tmp_path, filled()), with_heads=True)
    start_from(student, network(), written(tmp_path, network()), with_heads=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float):
    broken = filled()["backbone"]
    with torch.no_grad():
        broken.norm.bias[3] = value
    with pytest.raises(
        CheckpointError, match=r"backbone\.norm\.bias has values that are not finite"
    ):
        load_backbone(VisionTransformer(SMALL), written(tmp_path, broken))


def test_half_precision_starts_a_float32_model(tmp_path: Path):
    model = VisionTransformer(SMALL)
    load_backbone(model, written(tmp_path, filled()["backbone"].bfloat16()))
    assert model.cls_token.dtype == torch.float32

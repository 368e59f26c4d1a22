"""Golden values: facebookresearch/dinov2 b8931f7, utils/param_groups.py."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from eosin.models.config import HeadConfig, vit_config
from eosin.models.heads import DINOHead
from eosin.models.vit import VisionTransformer
from eosin.train.param_groups import ParamGroup, backbone_groups, head_groups, set_rates
from eosin.train.rates import Rates

RATES = Rates(
    lr=0.1,
    backbone_lr=0.1,
    last_layer_lr=0.0,
    weight_decay=0.4,
    teacher_momentum=0.9,
    teacher_temperature=0.07,
)


def backbone(size: str) -> VisionTransformer:
    with torch.device("meta"):
        return VisionTransformer(vit_config(size, num_registers=4))


def group_of(groups: list[ParamGroup], parameter: nn.Parameter) -> ParamGroup:
    [found] = [group for group in groups if any(p is parameter for p in group["params"])]
    return found


@pytest.mark.parametrize(
    ("name", "lr_multiplier", "weight_decay_multiplier"),
    [
        ("cls_token", 0.254187, 1.0),
        ("pos_embed", 0.254187, 1.0),
        ("register_tokens", 0.254187, 1.0),
        ("mask_token", 0.254187, 1.0),
        ("patch_embed.proj.weight", 0.050837, 1.0),
        ("patch_embed.proj.bias", 0.050837, 0.0),
        ("blocks.0.norm1.weight", 0.28243, 0.0),
        ("blocks.0.attn.qkv.weight", 0.28243, 1.0),
        ("blocks.0.ls1.gamma", 0.28243, 0.0),
        ("blocks.11.mlp.fc2.bias", 0.9, 0.0),
        ("blocks.11.mlp.fc2.weight", 0.9, 1.0),
        ("norm.weight", 1.0, 0.0),
    ],
)
def test_multipliers_are_those_of_the_reference(
    name: str, lr_multiplier: float, weight_decay_multiplier: float
):
    model = backbone("small")
    groups = backbone_groups(model, depth=12, layer_decay=0.9, patch_embed_lr_multiplier=0.2)
    group = group_of(groups, model.get_parameter(name))
    assert group["lr_multiplier"] == pytest.approx(lr_multiplier, abs=1e-6)
    assert group["weight_decay_multiplier"] == weight_decay_multiplier
    assert not group["is_last_layer"]


@pytest.mark.parametrize(
    ("size", "num_groups"), [("small", 28), ("base", 28), ("large", 52), ("giant2", 84)]
)
def test_as_many_groups_are_made_as_by_the_reference(size: str, num_groups: int):
    model = backbone(size)
    depth = vit_config(size).depth
    decayed = backbone_groups(model, depth=depth, layer_decay=0.9, patch_embed_lr_multiplier=0.2)
    assert len(decayed) == num_groups
    flat = backbone_groups(model, depth=depth, layer_decay=1.0, patch_embed_lr_multiplier=0.2)
    assert len(flat) == 4


def test_every_parameter_is_in_one_group_and_frozen_ones_in_none():
    model = backbone("nano")
    model.mask_token.requires_grad_(False)
    groups = backbone_groups(model, depth=6, layer_decay=0.9)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    expected = [id(p) for p in model.parameters() if p is not model.mask_token]
    assert sorted(grouped) == sorted(expected)


def test_a_head_has_its_last_layer_apart_which_decays_in_both_parts():
    head = DINOHead(64, HeadConfig(num_prototypes=128, hidden_dim=96, bottleneck_dim=32))
    groups = head_groups(head)
    assert [(g["weight_decay_multiplier"], g["is_last_layer"]) for g in groups] == [
        (1.0, False),
        (0.0, False),
        (1.0, True),
    ]
    assert [len(group["params"]) for group in groups] == [3, 3, 2]
    assert {group["lr_multiplier"] for group in groups} == {1.0}


def test_lengths_of_prototypes_that_stand_still_are_in_no_group():
    size = {"num_prototypes": 128, "hidden_dim": 96, "bottleneck_dim": 32}
    head = DINOHead(64, HeadConfig(**size, trains_lengths=False))
    lengths = head.last_layer.get_parameter("parametrizations.weight.original0")
    grouped = [p for group in head_groups(head) for p in group["params"]]
    assert len(grouped) == len(list(head.parameters())) - 1
    assert not any(p is lengths for p in grouped)


def test_a_frozen_backbone_has_no_rate_while_heads_learn():
    model = VisionTransformer(vit_config("nano", image_size=56))
    head = DINOHead(192, HeadConfig(num_prototypes=16, hidden_dim=8, bottleneck_dim=4))
    optimizer = torch.optim.AdamW([*backbone_groups(model, depth=6), *head_groups(head)])
    set_rates(optimizer, replace(RATES, backbone_lr=0.0, last_layer_lr=0.1))
    rates = {(group["is_backbone"], group["lr"]) for group in optimizer.param_groups}
    assert rates == {(True, 0.0), (False, 0.1)}


def test_rates_are_the_schedules_times_the_multipliers():
    model = VisionTransformer(vit_config("nano", image_size=56))
    head = DINOHead(192, HeadConfig(num_prototypes=16, hidden_dim=8, bottleneck_dim=4))
    optimizer = torch.optim.AdamW(
        [
            *backbone_groups(model, depth=6, layer_decay=0.5, patch_embed_lr_multiplier=0.2),
            *head_groups(head),
        ]
    )
    set_rates(optimizer, RATES)

    def rates(parameter: nn.Parameter) -> tuple[float, float]:
        group = group_of(optimizer.param_groups, parameter)
        return group["lr"], group["weight_decay"]

    assert rates(model.norm.bias) == (0.1, 0.0)
    assert rates(model.cls_token) == pytest.approx((0.1 * 0.5**7, 0.4))
    assert rates(model.patch_embed.proj.weight) == pytest.approx((0.1 * 0.5**7 * 0.2, 0.4))
    assert rates(head.mlp[0].weight) == (0.1, 0.4)
    assert rates(head.last_layer.parametrizations.weight.original0) == (0.0, 0.4)

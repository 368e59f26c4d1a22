from dataclasses import replace

import pytest
from torch import nn

from eosin.models.config import HeadConfig, vit_config
from eosin.models.heads import DINOHead
from eosin.recipes import RECIPES
from eosin.train.num_weights import heads_of, num_backbone_weights, num_head_weights, num_weights
from eosin.train.student_teacher import StudentTeacher


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("size", "registers", "expected"),
    [
        ("small", 0, 22_056_576),
        ("small", 4, 22_058_112),
        ("base", 0, 86_580_480),
        ("large", 4, 304_372_736),
        ("giant2", 0, 1_136_480_768),
        ("giant2", 4, 1_136_486_912),
    ],
)
def test_the_weights_of_a_backbone_are_counted_as_the_reference_has_them(size, registers, expected):
    assert (
        num_backbone_weights(vit_config(size, image_size=518, num_registers=registers)) == expected
    )


def test_the_weights_of_a_head_are_counted_as_they_are_built():
    head = HeadConfig(num_prototypes=64, hidden_dim=24, bottleneck_dim=16)
    assert num_head_weights(head, 40) == count(DINOHead(40, head))


@pytest.mark.parametrize("recipe", ["nano_cpu", "kaiko_fm_dino_s16", "uni"])
def test_the_weights_of_a_run_are_those_of_its_student(recipe: str):
    run = RECIPES[recipe].smoke()
    assert num_weights(run) == count(StudentTeacher(run).student)


def test_without_weight_for_ibot_there_is_no_head_for_it():
    run = RECIPES["nano_cpu"].config()
    assert len(heads_of(run)) == 2
    assert len(heads_of(replace(run, losses=replace(run.losses, ibot_weight=0.0)))) == 1
    assert len(heads_of(replace(run, ibot_head=None))) == 1

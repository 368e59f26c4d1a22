"""Golden values: facebookresearch/dinov2 b8931f7, build_schedulers (train/train.py)."""

from dataclasses import replace

import pytest

from eosin.train.config import OptimConfig, TeacherConfig, TrainConfig
from eosin.train.rates import RateSchedules
from train.tiny import tiny_config


def config(**optim: object) -> TrainConfig:
    """Return the rates of vitl14.yaml with a hundredth of its steps."""
    settings = {"base_lr": 2e-4, "warmup_steps": 1000, "freeze_last_layer_steps": 125}
    return replace(
        tiny_config(),
        optim=OptimConfig(**(settings | optim)),
        teacher=TeacherConfig(warmup_temperature_steps=375),
        steps=6250,
        global_batch=3072,
    )


@pytest.mark.parametrize(
    ("step", "lr", "last_layer_lr", "weight_decay", "momentum", "temperature"),
    [
        (0, 0.0, 0.0, 0.04, 0.994, 0.04),
        (1, 3.467569184e-07, 0.0, 0.04000001011, 0.9940000004, 0.0400802139),
        (124, 4.299785789e-05, 0.0, 0.04015534686, 0.9940058255, 0.04994652406),
        (125, 4.33446148e-05, 4.33446148e-05, 0.04015786173, 0.9940059198, 0.05002673797),
        (374, 0.0001296870875, 0.0001296870875, 0.04140949482, 0.9940528561, 0.07),
        (375, 0.0001300338444, 0.0001300338444, 0.04141701994, 0.9940531382, 0.07),
        (999, 0.0003464101615, 0.0003464101615, 0.04987610199, 0.9943703538, 0.07),
        (1000, 0.0003464101615, 0.0003464101615, 0.0498954656, 0.99437108, 0.07),
        (3000, 0.0002368013319, 0.0002368013319, 0.1149767584, 0.9968116284, 0.07),
        (6249, 1.000030921e-06, 1.000030921e-06, 0.1999999899, 0.9999999996, 0.07),
    ],
)
def test_the_rates_of_a_step_are_those_of_the_reference(
    step: int,
    lr: float,
    last_layer_lr: float,
    weight_decay: float,
    momentum: float,
    temperature: float,
):
    rates = RateSchedules(config()).at(step)
    assert rates.lr == rates.backbone_lr == pytest.approx(lr, rel=1e-8)
    assert rates.last_layer_lr == pytest.approx(last_layer_lr, rel=1e-8)
    assert rates.weight_decay == pytest.approx(weight_decay, rel=1e-8)
    assert rates.teacher_momentum == pytest.approx(momentum, rel=1e-8)
    assert rates.teacher_temperature == pytest.approx(temperature, rel=1e-8)


def test_a_frozen_backbone_joins_at_the_rate_that_the_heads_have_by_then():
    schedules = RateSchedules(config(freeze_backbone_steps=200))
    assert schedules.at(199).backbone_lr == 0.0
    assert schedules.at(199).lr > 0.0
    assert schedules.at(200).backbone_lr == schedules.at(200).lr


def test_schedules_can_stand_at_their_last_values_for_a_whole_run():
    # As a high-resolution stage goes on with a run that has reached them.
    run = replace(
        config(weight_decay=0.2, final_weight_decay=0.2, freeze_last_layer_steps=0),
        teacher=TeacherConfig(
            momentum=0.9995, final_momentum=0.9995, temperature=0.07, warmup_temperature_steps=0
        ),
    )
    schedules = RateSchedules(run)
    for step in (0, 1, 3000, 6249):
        rates = schedules.at(step)
        assert rates.weight_decay == 0.2
        assert rates.teacher_momentum == 0.9995
        assert rates.teacher_temperature == 0.07
        assert rates.last_layer_lr == rates.lr

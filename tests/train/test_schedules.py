"""Golden values: facebookresearch/dinov2 b8931f7, utils/utils.py, CosineScheduler."""

import pytest

from eosin.errors import ConfigError
from eosin.train.schedules import CosineSchedule


def values(schedule: CosineSchedule, num: int) -> list[float]:
    return [schedule.value_at(step) for step in range(num)]


def test_a_warm_up_and_half_a_cosine_are_those_of_the_reference():
    schedule = CosineSchedule(
        base=1.0, final=1e-6, num_steps=20, num_warmup_steps=6, warmup_start=0.1
    )
    expected = [
        *[0.1, 0.28, 0.46, 0.64, 0.82, 1.0, 1.0, 0.9874639686269556, 0.9504844834667756],
        *[0.8909158503182737, 0.8117450891844659, 0.7169421526169095, 0.6112608557176902],
        *[0.5000005, 0.3887401442823098, 0.2830588473830905, 0.1882559108155342],
        *[0.1090851496817265, 0.04951651653322443, 0.012537031373044225, 1e-6, 1e-6],
    ]
    assert values(schedule, 22) == pytest.approx(expected, rel=1e-12)


def test_the_learning_rate_of_a_run_is_that_of_the_reference():
    schedule = CosineSchedule(base=1.0, final=1e-6, num_steps=100, num_warmup_steps=10)
    steps = (0, 1, 9, 10, 55, 99, 100, 10_000)
    expected = [0.0, 1 / 9, 1.0, 1.0, 0.5000005, 0.0003055861858656285, 1e-6, 1e-6]
    assert [schedule.value_at(step) for step in steps] == pytest.approx(expected, rel=1e-12)


def test_a_teacher_temperature_is_a_line_and_then_a_constant():
    schedule = CosineSchedule(
        base=0.07, final=0.07, num_steps=37_500, num_warmup_steps=37_500, warmup_start=0.04
    )
    steps = (0, 18_750, 37_499, 37_500)
    expected = [0.04, 0.05500040001066696, 0.07, 0.07]
    assert [schedule.value_at(step) for step in steps] == pytest.approx(expected, rel=1e-12)


def test_a_warm_up_of_one_step_is_its_start():
    schedule = CosineSchedule(
        base=2.0, final=0.5, num_steps=4, num_warmup_steps=1, warmup_start=0.3
    )
    assert values(schedule, 5) == pytest.approx([0.3, 2.0, 1.625, 0.875, 0.5], rel=1e-12)


@pytest.mark.parametrize(
    ("base", "final", "num_steps", "expected"),
    [
        # The rates of OpenMidnight f7d5a64, stopped at 250,000 of 10 million steps.
        (0.994, 1.0, 10_000_000, 0.994009),
        (0.04, 0.2, 10_000_000, 0.04025),
        (0.994, 1.0, 250_000, 1.0),
    ],
)
def test_momentum_and_weight_decay_rise_as_the_reference(
    base: float, final: float, num_steps: int, expected: float
):
    schedule = CosineSchedule(base=base, final=final, num_steps=num_steps)
    assert schedule.value_at(249_999) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "num_steps=0"),
        ({"num_warmup_steps": 11}, "num_warmup_steps=11.*num_steps=10"),
        ({"num_warmup_steps": -1}, "num_warmup_steps=-1"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(changes: dict[str, int], message: str):
    with pytest.raises(ConfigError, match=message):
        CosineSchedule(**({"base": 1.0, "final": 0.0, "num_steps": 10} | changes))

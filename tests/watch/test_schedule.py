from dataclasses import replace

import pytest

from eosin.errors import ConfigError
from eosin.recipes import midnight12k, nano_cpu
from eosin.watch.alarm import first_alarm_step
from eosin.watch.flops import backbone_flops, step_flops
from eosin.watch.schedule import ROUND_STEPS, TARGET_SHARE, Looks, cheap_spacing

LONG = replace(nano_cpu.config(), steps=100_000)


def test_looks_are_at_the_first_step_every_nth_and_the_last():
    looks = Looks(every_steps=4, num_steps=11)
    assert [step for step in range(11) if looks.is_due(step)] == [0, 4, 8, 10]


def test_no_step_between_looks_is_refused():
    with pytest.raises(ConfigError, match="every_steps=0"):
        Looks(every_steps=0, num_steps=5)


@pytest.mark.parametrize("num_images", [768, 5000])
def test_looks_that_nobody_has_spaced_are_a_hundredth_of_the_arithmetic(num_images: int):
    every = cheap_spacing(LONG, num_images)
    look = num_images * backbone_flops(LONG.model, LONG.data.global_px)
    assert every % ROUND_STEPS == 0
    assert look / (every * step_flops(LONG)) <= TARGET_SHARE
    assert look / ((every - ROUND_STEPS) * step_flops(LONG)) > TARGET_SHARE


def test_a_larger_batch_is_looked_at_after_fewer_steps():
    larger = replace(LONG, global_batch=256)
    assert cheap_spacing(larger, 768) < cheap_spacing(LONG, 768)
    assert cheap_spacing(midnight12k.config(), 768) == ROUND_STEPS


def test_a_short_run_is_looked_at_often_enough_to_be_stopped_in_its_first_half():
    config = nano_cpu.config()
    looks = Looks(every_steps=cheap_spacing(config, 768), num_steps=config.steps)
    due = [step for step in range(config.steps) if looks.is_due(step)]
    assert 10 <= len(due) <= 12
    assert sum(first_alarm_step(config) <= step < config.steps / 2 for step in due) >= 3


def test_a_run_of_a_few_steps_is_looked_at_after_each():
    assert cheap_spacing(nano_cpu.smoke(), 768) == 1

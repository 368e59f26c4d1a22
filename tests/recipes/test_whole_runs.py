"""What a recipe's schedules come to over its whole run, and what it leaves on the disk."""

import re

import pytest

from eosin.recipes import RECIPES
from eosin.train.num_weights import num_weights
from eosin.train.rates import RateSchedules

ALL = pytest.mark.parametrize("recipe", list(RECIPES))
CHECKPOINT_BYTES_PER_WEIGHT = 20
"""Of student, teacher and AdamW's two moments in float32, and the teacher once more."""


@ALL
def test_a_run_is_warm_before_its_half_and_has_come_to_rest_at_its_last_step(recipe: str):
    run = RECIPES[recipe].config()
    optim, teacher = run.optim, run.teacher
    starts = (
        optim.warmup_steps,
        optim.freeze_last_layer_steps,
        optim.freeze_backbone_steps,
        teacher.warmup_temperature_steps,
    )
    assert max(starts) < run.steps / 2
    last = RateSchedules(run).at(run.steps - 1)
    assert last.lr - optim.final_lr < 1e-4 * run.peak_lr
    assert last.weight_decay == pytest.approx(optim.final_weight_decay, rel=1e-4)
    assert last.teacher_momentum == pytest.approx(teacher.final_momentum, abs=1e-6)
    assert last.teacher_temperature == teacher.temperature


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "nano_cpu"])
def test_a_run_leaves_five_checkpoints_or_more_on_a_disk_of_300_gigabytes(recipe: str):
    run = RECIPES[recipe].config()
    each, kept = run.checkpoint_every_steps, run.keep_every_steps
    saved = [*range(each, run.steps, each), run.steps]
    left = {step for step in saved if step % kept == 0} | set(saved[-run.keep_checkpoints :])
    assert len(left) >= 5
    assert len(left) * CHECKPOINT_BYTES_PER_WEIGHT * num_weights(run) < 300e9


def test_kaiko_fm_warms_up_for_the_share_of_dinov2s_long_setting():
    long, shorter = RECIPES["gpfm"].config(), RECIPES["kaiko_fm"].config()
    shares = [run.optim.warmup_steps / run.steps for run in (long, shorter)]
    assert shares == [0.16, 0.16]


def test_openmidnights_label_does_not_give_another_runs_result_as_its_own():
    # The blog's 0.775 and 83 hours belong to 250,000 steps of a schedule of ten million.
    label = dict(
        re.findall(r"^(\w+) +(.+(?:\n  .+)*)", RECIPES["openmidnight"].__doc__ or "", re.M)
    )
    for line in (label["Result"], label["Cost"]):
        assert line.startswith("none known for these settings")
    assert re.search(r"0\.775.* is another run's", " ".join(label["Result"].split()))

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from eosin.errors import CollapseError
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.alarm import CollapseAlarm, CollapseSigns, advice
from eosin.watch.bank import draw_bank
from eosin.watch.bank_watch import BankWatch
from eosin.watch.schedule import Looks
from train.tiny import tiny_config

HEALTHY = {
    "watch_mean_cosine": 0.1,
    "watch_rankme": 20.0,
    "watch_teacher_entropy": 3.0,
    "watch_mean_choice_entropy": 5.0,
}
SAME_VIEWS = HEALTHY | {"watch_mean_cosine": 0.999}
ONE_DIRECTION = HEALTHY | {"watch_rankme": 1.1}
ONE_CHOICE = HEALTHY | {"watch_mean_choice_entropy": 3.0}
NOT_FINITE = dict.fromkeys(HEALTHY, math.nan)


@pytest.fixture(scope="module")
def model() -> StudentTeacher:
    return StudentTeacher(tiny_config())


def warmed(on_collapse: str = "stop") -> CollapseAlarm:
    config = tiny_config()
    return CollapseAlarm(
        replace(config, optim=replace(config.optim, warmup_steps=0)), on_collapse=on_collapse
    )


@pytest.mark.parametrize("sign", [SAME_VIEWS, ONE_DIRECTION, ONE_CHOICE, NOT_FINITE])
def test_a_sign_at_two_looks_in_a_row_ends_the_run_at_the_step_after(
    model: StudentTeacher, sign: dict[str, float]
):
    alarm = warmed()
    alarm.step_done(0, sign, model)
    alarm.step_done(5, {"loss": 1.0}, model)
    alarm.step_done(10, sign, model)
    with pytest.raises(CollapseError, match=r"by step 10.*base_lr"):
        alarm.step_done(11, {"loss": 1.0}, model)


def test_one_look_with_a_sign_is_none(model: StudentTeacher):
    alarm = warmed()
    for step, metrics in enumerate([SAME_VIEWS, HEALTHY, SAME_VIEWS, HEALTHY, ONE_CHOICE, HEALTHY]):
        alarm.step_done(step, metrics, model)


def test_before_the_rate_is_warm_and_the_backbone_learns_nothing_is_said(model: StudentTeacher):
    config = tiny_config(steps=20)
    optim = replace(config.optim, warmup_steps=4, freeze_backbone_steps=2)
    alarm = CollapseAlarm(replace(config, optim=optim), on_collapse="stop")
    for step in range(7):
        alarm.step_done(step, SAME_VIEWS, model)
    alarm.step_done(7, SAME_VIEWS, model)
    with pytest.raises(CollapseError):
        alarm.step_done(8, SAME_VIEWS, model)


@pytest.mark.parametrize("start", ["backbone", "run"])
def test_learnt_weights_are_watched_from_the_first_step(model: StudentTeacher, start: str):
    config = tiny_config(steps=20)
    optim = replace(config.optim, warmup_steps=4, freeze_backbone_steps=2)
    alarm = CollapseAlarm(replace(config, optim=optim, start=start), on_collapse="stop")
    alarm.step_done(0, SAME_VIEWS, model)
    alarm.step_done(1, SAME_VIEWS, model)
    with pytest.raises(CollapseError, match="by step 1"):
        alarm.step_done(2, {"loss": 1.0}, model)


def test_a_warning_lets_the_run_go_on(model: StudentTeacher, caplog: pytest.LogCaptureFixture):
    alarm = warmed("warn")
    for step in range(4):
        alarm.step_done(step, ONE_CHOICE, model)
    assert len(caplog.records) == 3
    assert "0.000 nats" in caplog.text


def test_each_sign_is_named_with_its_value_and_its_limit():
    seen = CollapseSigns().seen(SAME_VIEWS | {"watch_rankme": 1.1})
    assert len(seen) == 2
    assert "0.999 (above 0.99)" in seen[0]
    assert "1.10 directions (below 1.5)" in seen[1]


def test_the_advice_names_what_this_run_has_set():
    config = tiny_config(global_batch=8)
    without = replace(
        config,
        losses=replace(config.losses, kde_weight=0.0, centering="softmax"),
        teacher=replace(config.teacher, temperature=0.07),
        model=replace(config.model, layerscale_init=1e-5),
    )
    assert "raise losses.kde_weight=0.2" in advice(config)
    assert "layerscale" not in advice(config)
    for part in ("kde_weight=0.05", "8 patches", "0.07", "sinkhorn_knopp", "layerscale_init=1.0"):
        assert part in advice(without)


def watched(config: TrainConfig, slides: list[Path], out: Path) -> RunFolder:
    looks = Looks(every_steps=5, num_steps=config.steps)
    size = config.data.global_px
    bank = BankWatch(out / "bank.npz", partial(draw_bank, config, slides, 32), looks, size_px=size)
    alarm = CollapseAlarm(config, on_collapse="stop")
    return train(
        config, slides, out, site=Site(device="cpu", num_threads=0), monitors=[bank, alarm]
    )


def learning(**changes: object) -> TrainConfig:
    config = tiny_config(precision="float32", global_batch=8, checkpoint_every_steps=40, **changes)
    return replace(
        config,
        model=replace(config.model, drop_path_rate=0.0),
        optim=replace(config.optim, warmup_steps=2, freeze_last_layer_steps=0),
    )


def test_a_run_that_really_collapses_is_stopped(tmp_path: Path, phantoms: list[Path]):
    # No balanced targets, no density, a teacher as soft and as quick as the student: it is known
    # that nothing is left then that keeps two tiles apart.
    config = learning(steps=40)
    config = replace(
        config,
        losses=replace(config.losses, kde_weight=0.0, centering="softmax"),
        optim=replace(config.optim, base_lr=0.05),
        teacher=replace(config.teacher, temperature=0.1, warmup_temperature=0.1, momentum=0.0),
    )
    with pytest.raises(CollapseError, match="nats"):
        watched(config, phantoms, tmp_path / "run")
    records = RunFolder(tmp_path / "run").metrics()
    looks = [record for record in records if "watch_mean_cosine" in record]
    assert len(records) < 40
    assert looks[-1]["watch_mean_cosine"] > 0.99 > looks[0]["watch_mean_cosine"]


def test_a_run_that_learns_is_left_alone(tmp_path: Path, phantoms: list[Path]):
    records = watched(learning(steps=20), phantoms, tmp_path / "run").metrics()
    looks = [record for record in records if "watch_mean_cosine" in record]
    assert [record["step"] for record in looks] == [0, 5, 10, 15, 19]
    assert looks[-1]["watch_mean_cosine"] < looks[0]["watch_mean_cosine"]

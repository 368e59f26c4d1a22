import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from eosin.errors import CheckpointError, CollapseError
from eosin.train import loop
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.alarm import CollapseAlarm, CollapseSigns, advice, first_alarm_step
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


def pass_step(
    alarm: CollapseAlarm, step: int, metrics: dict[str, float], model: StudentTeacher
) -> None:
    alarm.step_done(step, metrics, model)
    alarm.step_written(step)


@pytest.mark.parametrize("sign", [SAME_VIEWS, ONE_DIRECTION, ONE_CHOICE, NOT_FINITE])
def test_a_sign_at_two_looks_in_a_row_ends_the_run_once_the_step_is_written(
    model: StudentTeacher, sign: dict[str, float]
):
    alarm = warmed()
    pass_step(alarm, 0, sign, model)
    pass_step(alarm, 5, {"loss": 1.0}, model)
    alarm.step_done(10, sign, model)
    with pytest.raises(CollapseError, match=r"by step 10.*base_lr"):
        alarm.step_written(10)


def test_one_look_with_a_sign_is_none(model: StudentTeacher):
    alarm = warmed()
    for step, metrics in enumerate([SAME_VIEWS, HEALTHY, SAME_VIEWS, HEALTHY, ONE_CHOICE, HEALTHY]):
        pass_step(alarm, step, metrics, model)


def test_before_the_rate_is_warm_and_the_backbone_learns_nothing_is_said(model: StudentTeacher):
    config = tiny_config(steps=20)
    optim = replace(config.optim, warmup_steps=4, freeze_backbone_steps=2)
    alarm = CollapseAlarm(replace(config, optim=optim), on_collapse="stop")
    for step in range(7):
        pass_step(alarm, step, SAME_VIEWS, model)
    with pytest.raises(CollapseError, match="by step 7"):
        pass_step(alarm, 7, SAME_VIEWS, model)


@pytest.mark.parametrize("start", ["backbone", "run"])
def test_learnt_weights_are_watched_from_the_first_step(model: StudentTeacher, start: str):
    config = tiny_config(steps=20)
    optim = replace(config.optim, warmup_steps=4, freeze_backbone_steps=2)
    alarm = CollapseAlarm(replace(config, optim=optim, start=start), on_collapse="stop")
    pass_step(alarm, 0, SAME_VIEWS, model)
    with pytest.raises(CollapseError, match="by step 1"):
        pass_step(alarm, 1, SAME_VIEWS, model)


def test_a_warning_lets_the_run_go_on(model: StudentTeacher, caplog: pytest.LogCaptureFixture):
    alarm = warmed("warn")
    for step in range(4):
        pass_step(alarm, step, ONE_CHOICE, model)
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


class CollapsedGauges(Monitor):
    """Says at every step that the model has collapsed."""

    def __init__(self) -> None:
        self.num_ended = 0

    def step_done(self, step, metrics, model):
        return SAME_VIEWS

    def run_ended(self) -> None:
        self.num_ended += 1


def ends_collapsed(slides: list[Path], out: Path, *, num_after: int = 0) -> CollapsedGauges:
    """Train to the second look with signs, or so many steps further, and be stopped."""
    config = learning(steps=4 + num_after)
    gauges, alarm = CollapsedGauges(), CollapseAlarm(config, on_collapse="stop")
    assert first_alarm_step(config) == 2
    site = Site(device="cpu", num_threads=0)
    with pytest.raises(CollapseError, match="by step 3"):
        train(config, slides, out, site=site, monitors=[gauges, alarm])
    return gauges


@pytest.mark.parametrize("num_after", [0, 2])
def test_a_collapse_is_an_error_at_the_last_step_too_and_loses_nothing(
    tmp_path: Path, phantoms: list[Path], num_after: int
):
    gauges = ends_collapsed(phantoms, tmp_path, num_after=num_after)
    run = RunFolder(tmp_path)
    assert [record["step"] for record in run.metrics()] == [0, 1, 2, 3]
    assert run.metrics()[-1]["watch_mean_cosine"] == 0.999
    is_last = num_after == 0
    assert (run.checkpoints / "step_00000004" / "teacher.safetensors").exists() == is_last
    assert gauges.num_ended == 1


def test_a_collapse_at_the_last_step_hides_no_other_error(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    def save_on_a_full_disk(*args: object, **kwargs: object) -> None:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(loop, "save_checkpoint", save_on_a_full_disk)
    config = learning(steps=4)
    monitors = [CollapsedGauges(), CollapseAlarm(config, on_collapse="stop")]
    with pytest.raises(CheckpointError, match="the disk is full"):
        train(config, phantoms, tmp_path, site=Site(device="cpu", num_threads=0), monitors=monitors)
    assert monitors[0].num_ended == 1


def test_a_run_that_learns_is_left_alone(tmp_path: Path, phantoms: list[Path]):
    records = watched(learning(steps=20), phantoms, tmp_path / "run").metrics()
    looks = [record for record in records if "watch_mean_cosine" in record]
    assert [record["step"] for record in looks] == [0, 5, 10, 15, 19]
    assert looks[-1]["watch_mean_cosine"] < looks[0]["watch_mean_cosine"]

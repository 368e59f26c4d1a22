import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh

from eosin.errors import CheckpointError, ConfigError
from eosin.train.monitors import Monitor
from eosin.train.parallel import Layout, lay_out
from eosin.train.step import initial_model
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World
from eosin.watch.best import Best, KeepBest, read_best
from ranks import on_ranks
from train.tiny import tiny_config
from watch.monitor_contract import METRICS, MonitorContract

METRIC = "watch_knn_accuracy"


@pytest.fixture
def model() -> StudentTeacher:
    return initial_model(tiny_config())


def seen(value: float) -> Mapping[str, float | int]:
    return METRICS | {METRIC: value}


def mark(model: StudentTeacher, step: int) -> None:
    """Make the teacher of a step known by its weights."""
    with torch.no_grad():
        model.teacher["backbone"].cls_token.fill_(float(step))


def kept_mark(folder: Path) -> int:
    return int(load_file(folder / "teacher.safetensors")["backbone.cls_token"].flatten()[0])


def go(
    folder: Path, model: StudentTeacher, values: Mapping[int, float], first_step: int = 0
) -> None:
    keeper = KeepBest(folder, METRIC)
    keeper.run_started(first_step, 100)
    for step, value in values.items():
        mark(model, step)
        keeper.step_done(step, seen(value), model)
    keeper.run_ended()


class TestKeepBest(MonitorContract):
    @pytest.fixture
    def monitor(self, tmp_path: Path) -> Monitor:
        return KeepBest(tmp_path / "best", "loss")


def test_the_teacher_of_the_highest_value_is_kept_the_first_of_equal_ones(
    tmp_path: Path, model: StudentTeacher
):
    go(tmp_path, model, {0: 0.2, 10: 0.7, 20: 0.7, 30: 0.5, 40: float("nan")})
    assert kept_mark(tmp_path) == 10
    assert json.loads((tmp_path / "best.json").read_text()) == {
        "step": 10,
        "metric": METRIC,
        "value": 0.7,
    }
    assert set(load_file(tmp_path / "teacher.safetensors")) == set(model.teacher.state_dict())


def test_a_run_that_goes_on_keeps_its_best(tmp_path: Path, model: StudentTeacher):
    go(tmp_path, model, {0: 0.2, 10: 0.7})
    go(tmp_path, model, {20: 0.6}, first_step=15)
    assert kept_mark(tmp_path) == 10
    go(tmp_path, model, {40: 0.8}, first_step=35)
    assert kept_mark(tmp_path) == 40


def test_a_best_of_steps_that_are_done_again_gives_way(tmp_path: Path, model: StudentTeacher):
    go(tmp_path, model, {0: 0.2, 10: 0.7})
    go(tmp_path, model, {10: 0.6}, first_step=10)
    assert read_best(tmp_path) == Best(10, METRIC, 0.6)


def test_a_best_by_another_metric_gives_way(tmp_path: Path, model: StudentTeacher):
    go(tmp_path, model, {0: 0.9})
    keeper = KeepBest(tmp_path, "watch_rankme")
    keeper.run_started(5, 100)
    keeper.step_done(6, METRICS | {"watch_rankme": 0.5}, model)
    assert read_best(tmp_path) == Best(6, "watch_rankme", 0.5)


def test_a_damaged_best_is_passed_over_with_a_warning(
    tmp_path: Path, model: StudentTeacher, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "teacher.safetensors").write_bytes(b"half of it")
    go(tmp_path, model, {20: 0.6}, first_step=15)
    assert "is damaged and passed over" in caplog.text
    assert kept_mark(tmp_path) == 20


def test_what_cannot_be_written_is_said(tmp_path: Path, model: StudentTeacher):
    (tmp_path / "best").write_text("a file where the folder should be")
    keeper = KeepBest(tmp_path / "best", METRIC)
    with pytest.raises(CheckpointError, match="free some space"):
        keeper.step_done(0, seen(1.0), model)


def test_a_metric_that_the_first_step_does_not_have_is_refused_there(
    tmp_path: Path, model: StudentTeacher
):
    keeper = KeepBest(tmp_path, "watch_knn_acuracy")
    keeper.run_started(0, 2)
    with pytest.raises(ConfigError, match=r"'watch_knn_acuracy'.*choose of .*loss, .*step_s"):
        keeper.step_done(0, METRICS, model)


def test_a_metric_that_never_comes_to_a_run_that_goes_on_is_named_at_the_end(
    tmp_path: Path, model: StudentTeacher, caplog: pytest.LogCaptureFixture
):
    keeper = KeepBest(tmp_path, "watch_knn_acuracy")
    keeper.run_started(1, 2)
    keeper.step_done(1, METRICS, model)
    keeper.run_ended()
    assert "'watch_knn_acuracy'" in caplog.text
    assert not (tmp_path / "teacher.safetensors").exists()


def test_two_ranks_write_one_whole_teacher(tmp_path: Path, model: StudentTeacher):
    mark(model, 7)
    expected = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}

    def on_rank(rank: int) -> None:
        mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("shard",))
        world = World(device=torch.device("cpu"), rank=rank, size=2, mesh=mesh)
        lay_out(model, world, Layout(), is_bfloat16=False)
        keeper = KeepBest(tmp_path, METRIC)
        keeper.run_started(0, 9)
        # What the first rank has measured decides.
        keeper.step_done(3, seen(0.5 if rank == 0 else float("nan")), model)

    on_ranks(2, on_rank)
    kept = load_file(tmp_path / "teacher.safetensors")
    assert set(kept) == set(expected)
    assert all(torch.equal(kept[name], tensor) for name, tensor in expected.items())

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from eosin.errors import CheckpointError, MissingDependencyError
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.tensorboard import TensorBoard
from eosin.watch.wandb import WeightsAndBiases
from train.tiny import tiny_config
from watch.monitor_contract import METRICS, MonitorContract

CONFIG = tiny_config()
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


@pytest.fixture
def model() -> StudentTeacher:
    return StudentTeacher(CONFIG)


class FakeWandb(ModuleType):
    """Stands in for the package: writes down what it is asked for."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.inits: list[dict] = []
        self.axes: list[tuple[str, str | None]] = []
        self.logged: list[dict] = []
        self.num_finished = 0

    def init(self, **arguments: object) -> SimpleNamespace:
        self.inits.append(arguments)
        return SimpleNamespace(id=arguments["id"] or "made0id")

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes.append((name, step_metric))

    def log(self, values: dict) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.num_finished += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


class TestWeightsAndBiases(MonitorContract):
    @pytest.fixture
    def monitor(self, wandb: FakeWandb, tmp_path: Path) -> Monitor:
        return WeightsAndBiases(tmp_path, "slides", CONFIG)


def log_run(path: Path, model: StudentTeacher, steps: range) -> None:
    monitor = WeightsAndBiases(path, "slides", CONFIG)
    monitor.run_started(steps.start, 10)
    for step in steps:
        monitor.step_done(step, METRICS, model)
    monitor.run_ended()


def test_a_run_is_logged_under_its_own_step_and_goes_on_under_its_own_id(
    tmp_path: Path, wandb: FakeWandb, model: StudentTeacher
):
    path = tmp_path / "runs" / "m12k"
    path.mkdir(parents=True)
    log_run(path, model, range(3))
    log_run(path, model, range(2, 4))
    first, again = wandb.inits
    assert (first["project"], first["name"], first["id"]) == ("slides", "m12k", None)
    assert first["resume"] == again["resume"] == "allow"
    assert first["config"]["steps"] == CONFIG.steps
    assert again["id"] == "made0id"
    assert wandb.axes[:2] == [("step", None), ("*", "step")]
    assert [values["step"] for values in wandb.logged] == [0, 1, 2, 2, 3]
    assert wandb.logged[0] == {"step": 0, **METRICS}
    assert wandb.num_finished == 2


def test_a_damaged_id_is_refused(tmp_path: Path, wandb: FakeWandb):
    (tmp_path / "wandb.json").write_text("{")
    monitor = WeightsAndBiases(tmp_path, "slides", CONFIG)
    with pytest.raises(CheckpointError, match="remove it"):
        monitor.run_started(0, 10)


def test_a_logger_whose_package_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match="pip install wandb"):
        WeightsAndBiases(tmp_path, "slides", CONFIG)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        TensorBoard(tmp_path)


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="tensorboard is not installed")
class TestTensorBoard(MonitorContract):
    @pytest.fixture
    def monitor(self, tmp_path: Path) -> Monitor:
        return TensorBoard(tmp_path)


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="tensorboard is not installed")
def test_tensorboard_reads_back_each_step_and_forgets_what_is_done_again(
    tmp_path: Path, model: StudentTeacher
):
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    for steps, loss in ((range(3), 1.0), (range(2, 4), 2.0)):
        monitor = TensorBoard(tmp_path)
        monitor.run_started(steps.start, 10)
        for step in steps:
            monitor.step_done(step, {"loss": loss, "watch_kde": 0.5, "lr": 0.1}, model)
        monitor.run_ended()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"run/loss", "watch/kde", "run/lr"}
    losses = {event.step: event.value for event in events.Scalars("run/loss")}
    assert losses == {0: 1.0, 1: 1.0, 2: 2.0, 3: 2.0}
    assert len(events.Scalars("run/loss")) == 4

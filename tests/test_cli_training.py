"""What the command line says and does around a run: machines, weights, stops, and which teacher."""

import logging
from pathlib import Path

import pytest

from eosin.cli import EXIT_INTERRUPTED
from eosin.train import loop
from eosin.train.config import TrainConfig
from eosin.train.memory import MemoryEstimate, estimate_memory
from eosin.train.run_folder import RunFolder
from eosin.verbs import training
from test_cli import SMALL, fails, run


def train(capsys: pytest.CaptureFixture[str], slides: list[Path], out: Path, *words: str) -> tuple:
    return run(capsys, "train", "nano_cpu", slides[0].parent, "--out-dir", out, *SMALL, *words)


def test_a_run_says_what_it_needs_before_it_starts(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    caplog.set_level(logging.INFO)
    assert train(capsys, phantoms, tmp_path / "run")[0] == 0
    assert "memory of a device, estimated:" in caplog.text
    assert "learning rate 0.00025 at a batch of 4" in caplog.text


def test_a_preset_fits_the_run_to_the_machine_and_keeps_a_batch_that_was_given(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    caplog.set_level(logging.INFO)
    assert train(capsys, phantoms, tmp_path / "run", "--preset=cpu")[0] == 0
    assert "cpu: 1 x 8 GiB; a step of 4 patches" in caplog.text
    assert "x sqrt(4 / 1024)" in caplog.text
    assert RunFolder(tmp_path / "run").train_config.global_batch == 4


def test_the_memory_of_a_run_on_a_cpu_is_counted_as_a_cpu_computes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    caplog.set_level(logging.INFO)
    devices = []

    def estimate(config: TrainConfig, *, is_gpu: bool, **layout: object) -> MemoryEstimate:
        devices.append(is_gpu)
        return estimate_memory(config, is_gpu=is_gpu)

    monkeypatch.setattr(training, "estimate_memory", estimate)
    assert train(capsys, phantoms, tmp_path / "run", "--device=cpu")[0] == 0
    assert devices == [False]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preset=gpu13"], "there is no preset 'gpu13'; choose one of cpu"),
        (["--preset=cpu", "--accumulation-steps=2"], "leave out --accumulation-steps 2"),
        (["--preset=cpu", "--layout.num-replicas=2"], "leave out --layout.num-replicas 2"),
        (["--preset=8xgpu80", "--global-batch=64"], "is for 8 processes and this is 1"),
        (["--start=backbone"], "needs the weights of a backbone"),
        (["--weights=nowhere"], "would not be used, as the run starts at random"),
    ],
)
def test_what_does_not_fit_the_machine_or_the_weights_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    phantoms: list[Path],
    words: list[str],
    says: str,
):
    slides, out = phantoms[0].parent, tmp_path / "run"
    code, line = fails(capsys, "train", "nano_cpu", slides, "--out-dir", out, *SMALL, *words)
    assert code == 2
    assert says in line


def test_a_run_that_is_asked_to_stop_exits_with_75_and_goes_on(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    phantoms: list[Path],
    monkeypatch: pytest.MonkeyPatch,
):
    with monkeypatch.context() as patch:
        patch.setattr(loop.StopRequest, "requested", property(lambda _: True))
        code, _, talk = train(capsys, phantoms, tmp_path / "run")
    assert code == EXIT_INTERRUPTED
    assert "saved after 1 steps; give the same command to go on" in talk
    assert train(capsys, phantoms, tmp_path / "run")[0] == 0
    assert [record["step"] for record in RunFolder(tmp_path / "run").metrics()] == [0, 1]


def test_the_best_teacher_and_the_mean_of_several_are_exported_with_a_card_that_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    folder = tmp_path / "run"
    words = [
        "--watch.keep-best=watch_rankme",
        "--watch.every-steps=1",
        "--checkpoint-every-steps=1",
    ]
    assert train(capsys, phantoms, folder, *words)[0] == 0
    for option, says in (
        ("--best", "best teacher by watch_rankme"),
        ("--average=2", "The mean of"),
    ):
        out = tmp_path / option.strip("-")
        assert run(capsys, "export", folder, "-o", out, option)[0] == 0
        card = (out / "README.md").read_text()
        assert says in card
        assert "The recipe `nano_cpu`" in card

"""A start that fails before the first step binds nobody: the folder is free for other settings."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eosin.errors import CheckpointError, InputError
from eosin.stream.manifest import read_manifest
from eosin.train import begin
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.out_dir import refuse_folder_of_others
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.watch.bank import TileBank, draw_bank
from eosin.watch.bank_watch import BankWatch
from eosin.watch.schedule import Looks
from train.runs import StopAt, StoppedError
from train.tiny import tiny_config

CPU = Site(device="cpu", num_threads=0, has_manifest=True)
CONFIG = tiny_config(steps=2)
OTHER = replace(CONFIG, seed=5)


def drawn(config: TrainConfig, slides: list[Path]) -> TileBank:
    return draw_bank(config, slides, 16)


def bank_watch(config: TrainConfig, slides: list[Path], out: Path) -> BankWatch:
    looks = Looks(every_steps=1, num_steps=config.steps)
    draw = partial(drawn, config, slides)
    return BankWatch(out / "bank.npz", draw, looks, size_px=config.data.global_px)


def fail_at(
    step: int, config: TrainConfig, slides: list[Path], out: Path, weights: Path | None = None
) -> None:
    monitors = [bank_watch(config, slides, out), StopAt(step)]
    with pytest.raises(StoppedError):
        train(config, slides, out, site=CPU, monitors=monitors, weights=weights, recipe="nano_cpu")


def test_a_start_that_failed_at_its_first_step_leaves_the_folder_to_other_settings_and_slides(
    tmp_path: Path, phantoms: list[Path]
):
    weights = train(CONFIG, phantoms, tmp_path / "weights", site=CPU).path
    out = tmp_path / "run"
    fail_at(0, replace(CONFIG, start="run"), phantoms, out, weights)
    run = RunFolder(out)
    assert json.loads((out / "start.json").read_text())
    assert run.recipe == "nano_cpu"
    assert len(read_manifest(run.manifest)) >= CONFIG.global_batch
    (out / "masks" / "mine").write_text("kept")
    train(OTHER, phantoms[:2], out, site=CPU, monitors=[bank_watch(OTHER, phantoms[:2], out)])
    assert run.train_config == OTHER
    assert run.slides == [str(path) for path in phantoms[:2]]
    assert [record["step"] for record in run.metrics()] == [0, 1]
    # What depends on the settings is of the new ones.
    assert not (out / "start.json").exists()
    assert run.recipe is None
    expected = drawn(OTHER, phantoms[:2])
    assert np.array_equal(TileBank.load(out / "bank.npz").patches, expected.patches)
    assert not np.array_equal(expected.patches, drawn(CONFIG, phantoms).patches)
    indices = read_manifest(run.manifest)["index"].to_pylist()
    assert indices == list(range(2 * OTHER.global_batch))
    assert (out / "masks" / "mine").exists()


def test_weights_that_do_not_fit_leave_a_start_that_failed_as_it_was(
    tmp_path: Path, phantoms: list[Path]
):
    fail_at(0, CONFIG, phantoms, tmp_path / "run")
    (tmp_path / "run" / "report.html").touch()
    with pytest.raises(InputError, match="holds no checkpoint"):
        train(
            *(replace(OTHER, start="run"), phantoms, tmp_path / "run"),
            site=CPU,
            weights=tmp_path / "run",
        )
    assert RunFolder(tmp_path / "run").train_config == CONFIG
    refuse_folder_of_others(tmp_path / "run")


def test_precision_is_decided_anew_after_a_start_that_failed(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    fail_at(0, replace(CONFIG, precision="bfloat16"), phantoms, tmp_path)
    monkeypatch.setattr(begin, "fast_bfloat16", lambda _: False)
    run = train(replace(CONFIG, precision="auto"), phantoms, tmp_path, site=CPU)
    assert run.train_config.precision == "float32"


def test_a_bank_that_was_there_before_any_start_is_kept(tmp_path: Path, phantoms: list[Path]):
    theirs = drawn(CONFIG, phantoms)
    theirs.save(tmp_path / "bank.npz")
    train(OTHER, phantoms, tmp_path, site=CPU, monitors=[bank_watch(OTHER, phantoms, tmp_path)])
    assert np.array_equal(TileBank.load(tmp_path / "bank.npz").patches, theirs.patches)


def test_one_step_that_is_written_down_binds_a_run_to_its_settings(
    tmp_path: Path, phantoms: list[Path]
):
    fail_at(1, CONFIG, phantoms, tmp_path)
    bank = (tmp_path / "bank.npz").read_bytes()
    assert not list((tmp_path / "checkpoints").iterdir())
    with pytest.raises(CheckpointError, match="seed: was 0, now 5"):
        train(OTHER, phantoms, tmp_path, site=CPU)
    assert (tmp_path / "bank.npz").read_bytes() == bank
    assert len(train(CONFIG, phantoms, tmp_path, site=CPU).metrics()) == 2


def test_a_checkpoint_binds_a_run_to_its_settings_also_without_metrics(
    tmp_path: Path, phantoms: list[Path]
):
    run = train(CONFIG, phantoms, tmp_path, site=CPU)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"holds a run with other settings .*was 0, now 5"):
        train(OTHER, phantoms, tmp_path, site=CPU)
    assert run.train_config == CONFIG

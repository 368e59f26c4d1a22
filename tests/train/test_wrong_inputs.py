"""What people get wrong when they start a run is refused by name, before anything is trained."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eosin.errors import CheckpointError, ConfigError, EosinError
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.site import Layout, Site
from ranks import on_ranks
from train.tiny import tiny_config

CPU = Site(device="cpu", num_threads=1)


def with_lanes(num_lanes: int, **changes: object) -> TrainConfig:
    config = tiny_config()
    return replace(config, data=replace(config.data, num_lanes=num_lanes), **changes)


@pytest.mark.parametrize("parts", [1, 2])
def test_one_patch_in_a_batch_or_a_part_is_refused(parts: int):
    with pytest.raises(ConfigError, match=r"leaves 1 patch to a part .* patches are compared"):
        with_lanes(1, global_batch=parts, accumulation_steps=parts)


def test_lanes_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ConfigError, match="num_lanes=3 must divide global_batch=4"):
        with_lanes(3, global_batch=4)


def test_a_temperature_that_is_still_rising_at_the_end_is_warned_of(
    tmp_path: Path, phantoms: list[Path], caplog: pytest.LogCaptureFixture
):
    config = tiny_config(steps=2)
    long, even = (
        replace(config.teacher, temperature=0.07, warmup_temperature_steps=num) for num in (3, 2)
    )
    train(replace(config, teacher=even), phantoms, tmp_path / "even", site=CPU)
    train(replace(config, teacher=replace(long, temperature=0.04)), phantoms, tmp_path, site=CPU)
    assert "warmup_temperature_steps" not in caplog.text
    train(replace(config, teacher=long), phantoms, tmp_path / "long", site=CPU)
    told = "teacher.warmup_temperature_steps=3 are more than steps=2"
    assert caplog.text.count(told) == 1


def error_of(num_ranks: int, config: TrainConfig, slides: list[Path], folder: Path) -> list[str]:
    """Return what each of several processes says to a run that it refuses."""

    def on_rank(rank: int) -> str:
        os.environ.update(WORLD_SIZE=str(num_ranks), RANK=str(rank), LOCAL_RANK=str(rank))
        try:
            train(config, slides, folder, site=CPU)
        except EosinError as error:
            return f"{type(error).__name__}: {error}"
        return "it trained"

    return on_ranks(num_ranks, on_rank)


def test_processes_that_do_not_divide_the_lanes_are_refused(tmp_path: Path, phantoms: list[Path]):
    errors = error_of(2, with_lanes(1, global_batch=4), phantoms, tmp_path)
    assert all("ConfigError: " in error for error in errors)
    assert all("num_lanes=1 cannot be shared by 2 processes" in error for error in errors)
    # The folder stays free for the same command with other lanes.
    assert not list(tmp_path.rglob("config.json"))


def test_processes_that_do_not_divide_the_batch_are_refused(tmp_path: Path, phantoms: list[Path]):
    errors = error_of(2, with_lanes(1, global_batch=5), phantoms, tmp_path)
    assert all("ConfigError: global_batch=5" in error for error in errors)
    assert all("make it a multiple of 2" in error for error in errors)


@pytest.mark.parametrize(
    ("seed_of_rank_1", "num_slides_of_rank_1", "problem"),
    [(1, 3, "rank 1 was started with other settings"), (0, 2, "rank 1 sees 2 slides and rank 0 s")],
)
def test_processes_that_would_train_different_runs_are_refused(
    tmp_path: Path,
    phantoms: list[Path],
    seed_of_rank_1: int,
    num_slides_of_rank_1: int,
    problem: str,
):
    """As when two nodes are started by hand, or one has not mounted all of the slides."""

    def on_rank(rank: int) -> str:
        os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
        config = with_lanes(2, global_batch=4, seed=seed_of_rank_1 if rank else 0)
        slides = phantoms[: num_slides_of_rank_1 if rank else 3]
        with pytest.raises(ConfigError) as refused:
            train(config, slides, tmp_path / "run", site=CPU)
        return str(refused.value)

    assert all(problem in error for error in on_ranks(2, on_rank))
    assert not (tmp_path / "run" / "config.json").exists()


def test_copies_of_the_networks_that_do_not_divide_the_processes_are_refused(
    tmp_path: Path, phantoms: list[Path]
):
    site = replace(CPU, layout=Layout(num_replicas=2))
    with pytest.raises(ConfigError, match="num_replicas=2 must divide the 1 processes"):
        train(tiny_config(), phantoms, tmp_path, site=site)


def test_a_resume_with_a_changed_recipe_names_every_change(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=2)
    train(config, phantoms, tmp_path, site=CPU)
    changed = replace(config, seed=5, optim=replace(config.optim, base_lr=1e-3))
    with pytest.raises(CheckpointError, match=r"other settings .*base_lr.*seed: was 0, now 5"):
        train(changed, phantoms, tmp_path, site=CPU)


def test_weights_of_another_network_are_refused_by_the_names_that_differ(
    tmp_path: Path, phantoms: list[Path]
):
    other = tiny_config(steps=2)
    other = replace(other, model=replace(other.model, depth=1))
    train(other, phantoms, tmp_path / "other", site=CPU)
    config = tiny_config(start="run")
    with pytest.raises(EosinError, match=r"depth|blocks\.1"):
        train(config, phantoms, tmp_path / "run", site=CPU, weights=tmp_path / "other")


def test_checkpoints_of_another_network_are_refused_by_the_names_that_differ(
    tmp_path: Path, phantoms: list[Path]
):
    """As when somebody copies checkpoints into the folder of another run."""
    config = tiny_config(steps=2)
    deeper = replace(config, model=replace(config.model, depth=3))
    train(config, phantoms, tmp_path / "run", site=CPU)
    train(deeper, phantoms, tmp_path / "deeper", site=CPU)
    (tmp_path / "run" / "checkpoints").rename(tmp_path / "old")
    (tmp_path / "deeper" / "checkpoints").rename(tmp_path / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match=r"other networks: they differ in .*blocks\.2"):
        train(config, phantoms, tmp_path / "run", site=CPU)


@pytest.mark.parametrize("num_slides", [1, 3])
def test_one_slide_and_fewer_slides_than_lanes_are_enough(
    tmp_path: Path, phantoms: list[Path], num_slides: int
):
    config = with_lanes(8, global_batch=8, steps=2)
    run = train(config, phantoms[:num_slides], tmp_path, site=CPU)
    records = run.metrics()
    assert [record["last_sample"] for record in records] == [7, 15]
    assert all(torch.isfinite(torch.tensor(record["loss"])) for record in records)

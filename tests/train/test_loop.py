import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eosin.errors import CheckpointError, ConfigError, StreamStalledError, TrainingError
from eosin.pipeline import PatchPipeline
from eosin.recipes import RECIPES
from eosin.stream.manifest import read_manifest
from eosin.train import loop
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.student_teacher import StudentTeacher
from eosin.transforms import ResizeTransform
from ranks import on_ranks
from train.runs import StopAt, StoppedError
from train.tiny import tiny_config

CPU = Site(device="cpu", num_threads=2)
TIMES = ("data_wait_s", "step_s", "patches_per_s")


def untimed(run: RunFolder) -> list[dict[str, float | int]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in run.metrics()]


def test_a_run_writes_every_step_and_leaves_a_teacher(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=6)
    run = train(config, phantoms, tmp_path / "run", site=CPU)
    records = run.metrics()
    assert [record["step"] for record in records] == list(range(6))
    assert records[-1]["last_sample"] == 6 * config.global_batch - 1
    assert all(torch.isfinite(torch.tensor(record["loss"])) for record in records)
    assert (run.checkpoints / "step_00000006" / "teacher.safetensors").exists()
    assert run.slides == [str(path) for path in phantoms]


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_runs_small(tmp_path: Path, phantoms: list[Path], name: str):
    run = train(RECIPES[name].smoke(), phantoms, tmp_path / name, site=CPU)
    assert len(run.metrics()) == 4


@pytest.mark.parametrize("stop", [0, 3, 4])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, phantoms: list[Path], stop: int
):
    config = tiny_config(steps=7, checkpoint_every_steps=2)
    whole = train(config, phantoms, tmp_path / "whole", site=CPU)
    with pytest.raises(StoppedError):
        train(config, phantoms, tmp_path / "parts", site=CPU, monitors=[StopAt(stop)])
    parts = train(config, phantoms, tmp_path / "parts", site=CPU)
    assert untimed(parts) == untimed(whole)


def test_the_manifest_has_the_steps_that_were_trained_on_and_none_that_was_put_together_ahead(
    tmp_path: Path, phantoms: list[Path]
):
    config = tiny_config(steps=6, checkpoint_every_steps=2)
    site = replace(CPU, has_manifest=True)
    with pytest.raises(StoppedError):
        train(config, phantoms, tmp_path, site=site, monitors=[StopAt(2)])
    manifest = RunFolder(tmp_path).manifest
    num = config.global_batch
    assert read_manifest(manifest)["index"].to_pylist() == list(range(3 * num))
    train(config, phantoms, tmp_path, site=site)
    assert read_manifest(manifest)["index"].to_pylist() == list(range(6 * num))


def test_the_site_says_how_much_may_be_read_ahead(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    def stopped(pipeline: PatchPipeline, **settings: object) -> None:
        assert pipeline.prefetch_bytes == 2**20
        assert settings["is_pinned"] is False
        raise StoppedError

    monkeypatch.setattr(loop, "train_batches", stopped)
    with pytest.raises(StoppedError):
        train(tiny_config(), phantoms, tmp_path, site=replace(CPU, prefetch_bytes=2**20))


def test_the_number_of_threads_changes_nothing(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=3)
    runs = [
        train(config, phantoms, tmp_path / str(n), site=replace(CPU, num_threads=n)) for n in (0, 3)
    ]
    assert untimed(runs[0]) == untimed(runs[1])


def test_another_seed_is_another_run(tmp_path: Path, phantoms: list[Path]):
    first = train(tiny_config(steps=2), phantoms, tmp_path / "a", site=CPU)
    other = train(tiny_config(steps=2, seed=1), phantoms, tmp_path / "b", site=CPU)
    assert untimed(first)[0]["places_sum"] != untimed(other)[0]["places_sum"]


def test_bfloat16_gives_nearly_the_same_losses(tmp_path: Path, phantoms: list[Path]):
    losses = []
    for precision in ("float32", "bfloat16"):
        config = tiny_config(steps=2, precision=precision)
        losses.append(untimed(train(config, phantoms, tmp_path / precision, site=CPU))[1]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert losses[1] != losses[0]


def on(place: str, **changes: object) -> TrainConfig:
    config = tiny_config(**changes)
    return replace(config, data=replace(config.data, augment_on=place))


def test_augmenting_on_the_device_gives_the_same_samples_and_nearly_the_same_losses(
    tmp_path: Path, phantoms: list[Path]
):
    cpu, device = (
        untimed(train(on(place, steps=3), phantoms, tmp_path / place, site=CPU))
        for place in ("cpu", "device")
    )
    assert [step["places_sum"] for step in device] == [step["places_sum"] for step in cpu]
    losses = [[step["loss"] for step in steps] for steps in (cpu, device)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert losses[1] != losses[0]


def test_a_run_that_augments_on_the_device_goes_on_as_if_it_had_not_been_stopped(
    tmp_path: Path, phantoms: list[Path]
):
    config = on("device", steps=4, checkpoint_every_steps=2)
    whole = train(config, phantoms, tmp_path / "whole", site=CPU)
    with pytest.raises(StoppedError):
        train(config, phantoms, tmp_path / "parts", site=CPU, monitors=[StopAt(2)])
    assert untimed(train(config, phantoms, tmp_path / "parts", site=CPU)) == untimed(whole)


def test_what_the_device_cannot_augment_is_refused_before_anything_runs(
    tmp_path: Path, phantoms: list[Path]
):
    config = on("device")
    data = replace(config.data, shared_transforms=ResizeTransform(target_size=128))
    with pytest.raises(ConfigError, match="ResizeTransform cannot run on the device"):
        train(replace(config, data=data), phantoms, tmp_path / "run", site=CPU)
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_augmenting_on_a_gpu_gives_nearly_the_losses_of_the_cpu(
    tmp_path: Path, phantoms: list[Path]
):
    gpu = replace(CPU, device="cuda")
    losses = [
        [step["loss"] for step in train(on(p, steps=3), phantoms, tmp_path / p, site=gpu).metrics()]
        for p in ("cpu", "device")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=2)
    before = train(config, phantoms, tmp_path, site=CPU).metrics()
    assert train(config, phantoms, tmp_path, site=CPU).metrics() == before


def test_another_slide_list_is_refused(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=2)
    train(config, phantoms, tmp_path, site=CPU)
    with pytest.raises(CheckpointError, match="of other slides"):
        train(config, phantoms[:2], tmp_path, site=CPU)
    assert RunFolder(tmp_path).slides == [str(path) for path in phantoms]


def test_other_settings_are_refused_by_name(tmp_path: Path, phantoms: list[Path]):
    train(tiny_config(steps=2), phantoms, tmp_path, site=CPU)
    with pytest.raises(CheckpointError, match="steps: was 2, now 3"):
        train(tiny_config(steps=3), phantoms, tmp_path, site=CPU)


def test_one_bad_slide_among_good_ones_is_reported_and_the_run_goes_on(
    tmp_path: Path, phantoms: list[Path]
):
    bad = tmp_path / "text.svs"
    bad.write_text("this is no slide")
    run = train(tiny_config(steps=3), [*phantoms, bad], tmp_path / "run", site=CPU)
    assert len(run.metrics()) == 3
    assert "not a slide" in run.quarantine[str(bad)]


def test_slides_that_one_of_several_processes_cannot_use_are_reported_by_the_first(
    tmp_path: Path, phantoms: list[Path]
):
    def on_rank(rank: int) -> None:
        os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
        found = {f"seen_by_{rank}.svs": "no slide"}
        PatchPipeline.quarantined = property(lambda pipeline: found)
        train(tiny_config(steps=2), phantoms, tmp_path, site=CPU)

    on_ranks(2, on_rank)
    expected = {"seen_by_0.svs": "no slide", "seen_by_1.svs": "no slide"}
    assert RunFolder(tmp_path).quarantine == expected


def test_slides_that_give_nothing_end_the_run_with_the_reason(tmp_path: Path):
    bad = tmp_path / "text.svs"
    bad.write_text("this is no slide")
    with pytest.raises(StreamStalledError, match="not a slide"):
        train(tiny_config(steps=3), [bad], tmp_path / "run", site=CPU)


def test_a_device_that_is_not_here_is_refused(tmp_path: Path, phantoms: list[Path]):
    with pytest.raises(ConfigError, match="device='cuda:99' is not here"):
        train(tiny_config(), phantoms, tmp_path, site=Site(device="cuda:99"))


@pytest.mark.parametrize("poisoned_name", ["dino_head.mlp.0.bias", "backbone.norm.weight"])
@pytest.mark.parametrize("centering", ["sinkhorn_knopp", "softmax"])
def test_steps_that_are_not_finite_change_nothing_and_end_the_run_after_three(
    tmp_path: Path,
    phantoms: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    poisoned_name: str,
    centering: str,
):
    seen = []
    original = loop.train_step

    def poisoned(model: StudentTeacher, *args: object) -> dict[str, float]:
        with torch.no_grad():
            model.student.get_parameter(poisoned_name).fill_(float("nan"))
        kept = [*model.teacher.parameters(), model.dino_center, model.ibot_center]
        before = [tensor.clone() for tensor in kept]
        measured = original(model, *args)
        after = [*model.teacher.parameters(), model.dino_center, model.ibot_center]
        seen.append(all(map(torch.equal, before, after)))
        return measured

    monkeypatch.setattr(loop, "train_step", poisoned)
    config = tiny_config(steps=4, losses=replace(tiny_config().losses, centering=centering))
    with pytest.raises(TrainingError, match="3 steps in a row"):
        train(config, phantoms, tmp_path, site=CPU)
    assert seen == [True] * 3
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 3


def test_steps_that_were_skipped_before_a_stop_count_with_those_after_it(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """The checkpoint after two such steps must not grant the run two more at every restart."""
    original = loop.train_step

    def poisoned(model: StudentTeacher, *args: object) -> dict[str, float]:
        return original(model, *args) | {"loss": math.nan}

    monkeypatch.setattr(loop, "train_step", poisoned)
    config = tiny_config(steps=6, checkpoint_every_steps=2)
    for _ in range(2):
        with pytest.raises(TrainingError, match="3 steps in a row, up to step 2"):
            train(config, phantoms, tmp_path, site=CPU)
    lines = (tmp_path / "nonfinite.jsonl").read_text().splitlines()
    nonfinite = [json.loads(line) for line in lines]
    assert [record["step"] for record in nonfinite] == [0, 1, 2]


def test_a_gpu_that_is_too_small_is_told_with_what_to_do(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    def too_large(*args: object) -> dict[str, float]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nAnd more.")

    monkeypatch.setattr(loop, "train_step", too_large)
    with pytest.raises(TrainingError, match=r"parts of 4 patches \(CUDA .* 9 GiB\.\); .*--preset"):
        train(tiny_config(), phantoms, tmp_path, site=CPU)


def test_a_monitor_sees_every_step_and_adds_to_its_metrics(tmp_path: Path, phantoms: list[Path]):
    class Counting(Monitor):
        def step_done(
            self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
        ) -> Mapping[str, float | int]:
            return {"twice_the_step": 2.0 * step}

    run = train(tiny_config(steps=3), phantoms, tmp_path, site=CPU, monitors=[Counting()])
    assert [record["twice_the_step"] for record in run.metrics()] == [0, 2, 4]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_gives_nearly_the_losses_of_the_cpu(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=3)
    runs = [
        train(config, phantoms, tmp_path / device, site=replace(CPU, device=device))
        for device in ("cpu", "cuda")
    ]
    cpu, gpu = ([record["loss"] for record in run.metrics()] for run in runs)
    assert gpu == pytest.approx(cpu, rel=1e-3)

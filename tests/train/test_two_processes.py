"""Whole runs on several processes against the same run on one."""

import shutil
from dataclasses import replace
from pathlib import Path

import jaxtyping
import pytest
import torch
from torch import nn

from eosin.train.checkpoint import list_checkpoints, load_newest
from eosin.train.config import LossConfig
from eosin.train.site import Layout
from train.runs import assert_close, copy_stopped_at, run_on, steady_config, untimed
from train.worlds import ALONE, everything, stepped


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    run_on(1, steady_config(), phantoms, folder)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Path:
    """The same run on two processes."""
    folder = tmp_path_factory.mktemp("shared") / "run"
    run_on(2, steady_config(), phantoms, folder)
    return folder


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """Return networks and optimiser at the end of a run, in one piece."""
    model, optimizer = stepped(ALONE, config=steady_config())
    load_newest(folder / "checkpoints", model=model, optimizer=optimizer, world=ALONE)
    return everything(model, optimizer)


def test_two_processes_see_the_samples_and_have_the_losses_and_gradient_norms_of_one(
    alone: Path, shared: Path
):
    assert_close(untimed(shared), untimed(alone))


def test_gradients_of_two_processes_are_those_of_one(alone: Path, shared: Path):
    """Compared as their running means, which AdamW keeps."""
    one, two = trained(alone), trained(shared)
    assert one.keys() == two.keys()
    means = [name for name in one if name.endswith(" exp_avg")]
    assert len(means) > 40
    for name in means:
        error = torch.linalg.vector_norm(one[name] - two[name])
        assert error <= 1e-4 * torch.linalg.vector_norm(one[name]) + 1e-9, name


@pytest.mark.parametrize("num_ranks", [1, 4])
def test_what_two_processes_saved_goes_on_with_one_and_four(
    tmp_path: Path, phantoms: list[Path], shared: Path, num_ranks: int
):
    copy = copy_stopped_at(2, shared, tmp_path / "run")
    assert [path.name for path in list_checkpoints(copy / "checkpoints")] == ["step_00000002"]
    assert_close(run_on(num_ranks, steady_config(), phantoms, copy), untimed(shared))


def test_two_processes_go_on_to_the_last_bit_from_before_a_damaged_checkpoint(
    tmp_path: Path, phantoms: list[Path], shared: Path
):
    copy = shutil.copytree(shared, tmp_path / "run")
    damaged = copy / "checkpoints/step_00000004/state/__1_0.distcp"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert run_on(2, steady_config(), phantoms, copy) == untimed(shared)
    ends = [path / "checkpoints/step_00000004/teacher.safetensors" for path in (copy, shared)]
    assert ends[0].read_bytes() == ends[1].read_bytes()
    assert damaged.stat().st_size == (shared / damaged.relative_to(copy)).stat().st_size


def test_parts_that_are_computed_one_after_another_on_two_processes_are_those_on_one(
    tmp_path: Path, phantoms: list[Path]
):
    config = steady_config(accumulation_steps=2)
    one, two = (run_on(n, config, phantoms, tmp_path / str(n)) for n in (1, 2))
    assert_close(two, one)


def test_where_losses_do_not_compare_patches_parts_add_up_to_the_whole_batch(
    tmp_path: Path, phantoms: list[Path]
):
    losses = LossConfig(kde_weight=0.0, centering="softmax")
    whole, parts = (
        run_on(1, steady_config(losses=losses, accumulation_steps=n), phantoms, tmp_path / str(n))
        for n in (1, 2)
    )
    assert_close(parts, whole)


def test_two_copies_of_the_networks_on_four_processes_are_as_one_process(
    tmp_path: Path, phantoms: list[Path], alone: Path
):
    layout = Layout(num_replicas=2)
    assert_close(run_on(4, steady_config(), phantoms, tmp_path, layout), untimed(alone))


def test_bfloat16_on_two_processes_has_nearly_the_losses_of_float32_on_one(
    tmp_path: Path, phantoms: list[Path], alone: Path
):
    found = run_on(2, steady_config(precision="bfloat16"), phantoms, tmp_path)
    expected = [record["loss"] for record in untimed(alone)]
    assert [record["loss"] for record in found] == pytest.approx(expected, rel=1e-2)
    assert [record["loss"] for record in found] != expected


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_compiled_blocks_whose_activations_are_computed_again_have_the_same_losses(
    tmp_path: Path,
    phantoms: list[Path],
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_ranks: int,
):
    compile_block = nn.Module.compile

    def compile_without_a_compiler(module: nn.Module) -> None:
        # Traces forward and backward as the default backend does, and makes no C++ of it.
        compile_block(module, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile_without_a_compiler)
    # Shapes are checked in tests alone, and the compiler cannot trace the checks.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    layout = Layout(compile_blocks=True, recompute_blocks=True)
    config = replace(steady_config(), steps=2)
    found = run_on(num_ranks, config, phantoms, tmp_path, layout)
    assert_close(found[:1], untimed(alone)[:1])
    torch.compiler.reset()

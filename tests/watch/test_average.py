from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eosin.errors import CheckpointError, ConfigError
from eosin.watch.average import average_teachers


def write(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path)
    return path


def test_the_mean_of_teachers_is_numpys(tmp_path: Path):
    rng = np.random.default_rng(0)
    stacks = {"a": rng.normal(size=(5, 3, 4)), "b": rng.normal(size=(5, 7))}
    stacks = {name: stack.astype(np.float32) for name, stack in stacks.items()}
    paths = [
        write(
            tmp_path / f"{number}.safetensors",
            **{name: torch.from_numpy(stack[number]) for name, stack in stacks.items()},
        )
        for number in range(5)
    ]
    mean = average_teachers(paths)
    for name, stack in stacks.items():
        expected = stack.astype(np.float64).mean(axis=0).astype(np.float32)
        assert mean[name].dtype == torch.float32
        assert np.array_equal(mean[name].numpy(), expected)
    backwards = average_teachers(paths[::-1])
    assert all(torch.equal(mean[name], backwards[name]) for name in stacks)


def test_the_mean_of_one_teacher_is_that_teacher(tmp_path: Path):
    weight = torch.randn(4, 4)
    mean = average_teachers([write(tmp_path / "one.safetensors", w=weight)])
    assert torch.equal(mean["w"], weight)


def test_teachers_of_other_models_are_refused_by_name(tmp_path: Path):
    one = write(tmp_path / "one.safetensors", w=torch.ones(2), b=torch.ones(1))
    other = write(tmp_path / "other.safetensors", w=torch.ones(2), c=torch.ones(1))
    with pytest.raises(CheckpointError, match="only one has b, c"):
        average_teachers([one, other])
    wide = write(tmp_path / "wide.safetensors", w=torch.ones(3), b=torch.ones(1))
    with pytest.raises(CheckpointError, match=r"w has the shapes \(3,\) and \(2,\)"):
        average_teachers([one, wide])


def test_nothing_and_what_is_no_teacher_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no teachers"):
        average_teachers([])
    (tmp_path / "text").write_text("no weights")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(CheckpointError, match="leave it out"):
            average_teachers([path])

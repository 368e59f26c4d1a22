from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eosin.errors import ConfigError, InputError
from eosin.train.run_folder import RunFolder
from eosin.watch.teacher import chosen_teacher


def teacher_of(value: float) -> dict[str, torch.Tensor]:
    return {
        "backbone.norm.weight": torch.full((3,), value),
        "dino_head.mlp.0.bias": torch.full((2,), value),
    }


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with three checkpoints of teachers 1, 2 and 6, and its best at 2."""
    for step, value in ((10, 1.0), (20, 2.0), (30, 6.0)):
        folder = tmp_path / "checkpoints" / f"step_{step:08d}"
        folder.mkdir(parents=True)
        save_file(teacher_of(value), folder / "teacher.safetensors")
    (tmp_path / "best").mkdir()
    header = {"step": "19", "metric": "watch_knn_accuracy", "value": "0.5"}
    save_file(teacher_of(2.0), tmp_path / "best" / "teacher.safetensors", metadata=header)
    return RunFolder(tmp_path)


def test_the_newest_teacher_is_taken_unless_another_is_asked_for(run: RunFolder):
    teacher = chosen_teacher(run, is_best=False, num_averaged=1)
    assert (teacher.step, teacher.note) == (30, "")
    assert teacher.backbone.keys() == {"norm.weight"}
    assert teacher.backbone["norm.weight"].tolist() == [6, 6, 6]


def test_the_best_teacher_says_by_what(run: RunFolder):
    teacher = chosen_teacher(run, is_best=True, num_averaged=1)
    assert teacher.step == 20
    assert teacher.backbone["norm.weight"].tolist() == [2, 2, 2]
    assert "watch_knn_accuracy (0.5000)" in teacher.note


def test_the_mean_of_the_newest_teachers_says_of_which(run: RunFolder):
    teacher = chosen_teacher(run, is_best=False, num_averaged=2)
    assert teacher.backbone["norm.weight"].tolist() == [4, 4, 4]
    assert "2 checkpoints, of steps 20 to 30" in teacher.note


def test_teachers_that_are_not_there_are_refused(run: RunFolder):
    with pytest.raises(ConfigError, match=r"num_averaged=4, but .* has 3 checkpoints"):
        chosen_teacher(run, is_best=False, num_averaged=4)
    with pytest.raises(ConfigError, match="take the best teacher, or the mean"):
        chosen_teacher(run, is_best=True, num_averaged=2)
    (run.path / "best" / "teacher.safetensors").unlink()
    with pytest.raises(InputError, match="has kept no best teacher"):
        chosen_teacher(run, is_best=True, num_averaged=1)

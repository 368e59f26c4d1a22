import logging
from pathlib import Path

import pytest
import torch

from eosin.errors import CheckpointError, InputError
from eosin.pipeline import StreamState
from eosin.train.checkpoint import (
    TrainState,
    list_checkpoints,
    load_newest,
    load_teacher,
    save_checkpoint,
)

CPU = torch.device("cpu")


def state(step: int) -> TrainState:
    return TrainState(
        step=step,
        model={"weight": torch.full((3,), float(step))},
        optimizer={"state": {}, "param_groups": []},
        stream=StreamState(next_index=step, settings="a", slides="b"),
    )


def save(folder: Path, step: int, keep: int = 5) -> Path:
    teacher = {"backbone.weight": torch.full((3,), float(step)), "dino_head.x": torch.ones(1)}
    return save_checkpoint(folder, state(step), teacher, keep=keep)


def test_the_newest_checkpoint_comes_back(tmp_path: Path):
    for step in (1, 2):
        save(tmp_path, step)
    loaded = load_newest(tmp_path, CPU)
    assert loaded is not None
    assert loaded["step"] == 2
    assert loaded["model"]["weight"].tolist() == [2.0, 2.0, 2.0]
    assert loaded["stream"]["next_index"] == 2


def test_without_checkpoints_there_is_nothing_to_go_on_with(tmp_path: Path):
    assert load_newest(tmp_path, CPU) is None


def test_only_the_newest_are_kept(tmp_path: Path):
    for step in range(1, 6):
        save(tmp_path, step, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000004", "step_00000005"]


@pytest.mark.parametrize("damage", [b"", b"PK not a checkpoint", None])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
):
    save(tmp_path, 1)
    newest = save(tmp_path, 2) / "state.pt"
    newest.write_bytes(newest.read_bytes()[:-200] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        loaded = load_newest(tmp_path, CPU)
    assert loaded is not None
    assert loaded["step"] == 1
    assert "step_00000002 is damaged" in caplog.text


def test_when_every_checkpoint_is_damaged_nothing_is_trained_over_them(tmp_path: Path):
    (save(tmp_path, 1) / "state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        load_newest(tmp_path, CPU)


def test_a_disk_that_is_full_leaves_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save(tmp_path, 1)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", no_space)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save(tmp_path, 2)
    monkeypatch.undo()
    loaded = load_newest(tmp_path, CPU)
    assert loaded is not None
    assert loaded["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_the_teacher_is_read_without_its_heads(tmp_path: Path):
    save(tmp_path, 3)
    step, backbone = load_teacher(tmp_path)
    assert step == 3
    assert list(backbone) == ["weight"]


def test_a_folder_without_a_teacher_says_to_train_first(tmp_path: Path):
    with pytest.raises(InputError, match="train first"):
        load_teacher(tmp_path)

import json
import logging
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from eosin.errors import CheckpointError, InputError
from eosin.pipeline import StreamState
from eosin.train import checkpoint
from eosin.train.checkpoint import (
    Restored,
    full_state_dict,
    list_checkpoints,
    load_newest,
    load_teacher,
    save_checkpoint,
    teacher_files,
)
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World
from train.worlds import ALONE, assert_same, everything, in_world, stepped


def save(
    folder: Path, step: int, world: World = ALONE, *, keep: int = 5, keep_every: int = 0
) -> Path:
    model, optimizer = stepped(world, seed=step)
    return save_as(folder, step, world, model, optimizer, keep=keep, keep_every=keep_every)


def save_as(
    folder: Path,
    step: int,
    world: World,
    model: StudentTeacher,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int = 5,
    keep_every: int = 0,
) -> Path:
    stream = StreamState(next_index=step * 8, settings={"a": 1}, lists=[])
    return save_checkpoint(
        folder,
        step=step,
        model=model,
        optimizer=optimizer,
        stream=stream,
        world=world,
        keep=keep,
        keep_every=keep_every,
    )


def load(folder: Path, world: World = ALONE) -> tuple[Restored | None, dict[str, torch.Tensor]]:
    """Load into networks that have made another step before."""
    model, optimizer = stepped(world, seed=99)
    restored = load_newest(folder, model=model, optimizer=optimizer, world=world)
    return restored, everything(model, optimizer)


def test_the_newest_checkpoint_comes_back_to_the_last_bit(tmp_path: Path):
    for step in (1, 2):
        save(tmp_path, step)
    restored, loaded = load(tmp_path)
    assert restored is not None
    assert restored.step == 2
    assert restored.stream == {"next_index": 16, "settings": {"a": 1}, "lists": []}
    assert_same(loaded, everything(*stepped(ALONE, seed=2)))


def test_without_checkpoints_there_is_nothing_to_go_on_with(tmp_path: Path):
    assert load(tmp_path)[0] is None


@pytest.fixture(scope="module")
def of_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 2 and 3 that two ranks wrote; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    in_world(2, lambda world: [save(folder, step, world) for step in (2, 3)])
    return folder


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_any_number_of_ranks_reads_what_two_wrote(of_two_ranks: Path, num_ranks: int):
    expected = everything(*stepped(ALONE, seed=3))
    for restored, loaded in in_world(num_ranks, lambda world: load(of_two_ranks, world)):
        assert restored is not None
        assert restored.step == 3
        assert_same(loaded, expected)


def test_two_ranks_read_what_one_wrote(tmp_path: Path):
    save(tmp_path, 3)
    for _, loaded in in_world(2, lambda world: load(tmp_path, world)):
        assert_same(loaded, everything(*stepped(ALONE, seed=3)))


def test_two_copies_of_the_networks_write_one_checkpoint_between_them(tmp_path: Path):
    in_world(4, lambda world: save(tmp_path, 3, world), num_replicas=2)
    size_bytes = sum(file.stat().st_size for file in (tmp_path / "step_00000003/state").iterdir())
    alone = save(tmp_path / "alone", 3)
    assert size_bytes < 1.5 * sum(file.stat().st_size for file in (alone / "state").iterdir())
    assert_same(load(tmp_path)[1], everything(*stepped(ALONE, seed=3)))


def test_parameters_that_stood_still_have_no_state_after_loading_either(tmp_path: Path):
    model, optimizer = stepped(ALONE, seed=1, num_frozen=5)
    save_as(tmp_path, 1, ALONE, model, optimizer)
    loaded = load(tmp_path)[1]
    assert_same(loaded, everything(model, optimizer))
    assert "student.backbone.cls_token exp_avg" not in loaded


def test_settings_of_parameter_groups_are_those_of_the_code(tmp_path: Path):
    save(tmp_path, 1)
    model, optimizer = stepped(ALONE, seed=2)
    settings = {"lr_multiplier": 0.25, "betas": (0.5, 0.6), "lr": 7.0}
    optimizer.param_groups[0].update(settings)
    load_newest(tmp_path, model=model, optimizer=optimizer, world=ALONE)
    assert {name: optimizer.param_groups[0][name] for name in settings} == settings


def names(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step_")) for path in list_checkpoints(folder)]


def test_only_the_newest_are_kept(tmp_path: Path):
    for step in range(1, 6):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == [4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000004", "step_00000005"]


def test_multiples_of_a_number_of_steps_stay_beside_the_newest(tmp_path: Path):
    for step in range(1, 8):
        save(tmp_path, step, keep=1, keep_every=3)
    assert names(tmp_path) == [3, 6, 7]


def test_one_that_was_passed_over_does_not_take_the_place_of_one_that_can_be_read(tmp_path: Path):
    for step in (6, 8):
        save(tmp_path, step)
    (tmp_path / "step_00000008" / ".complete").unlink()
    save(tmp_path, 7, keep=2)
    assert names(tmp_path) == [6, 7]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "cut short": ("state/__0_0.distcp", cut, "bytes and must have"),
    "one bit turned": ("state/__0_0.distcp", flip, "another checksum"),
    "a file gone": ("state/__0_0.distcp", Path.unlink, "not whole"),
    "plan gone": ("state/.metadata", Path.unlink, "not whole"),
    "stream changed": ("stream.json", flip, "another checksum"),
    "teacher changed": ("teacher.safetensors", flip, "another checksum"),
    "not complete": (".complete", Path.unlink, "not whole"),
    "complete cut short": (".complete", cut, "not whole"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, of_two_ranks: Path, caplog: pytest.LogCaptureFixture, damage: str
):
    shutil.copytree(of_two_ranks, tmp_path, dirs_exist_ok=True)
    name, harm, reason = DAMAGES[damage]
    harm(tmp_path / "step_00000003" / name)
    restored, loaded = load(tmp_path)
    assert restored is not None
    assert restored.step == 2
    assert_same(loaded, everything(*stepped(ALONE, seed=2)))
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "step_00000003 is passed over" in warning.message
    assert reason in warning.message


def test_two_ranks_pass_over_the_same_one_though_each_looks_at_half_of_the_files(
    tmp_path: Path, of_two_ranks: Path
):
    shutil.copytree(of_two_ranks, tmp_path, dirs_exist_ok=True)
    flip(tmp_path / "step_00000003" / "state" / "__1_0.distcp")
    found = in_world(2, lambda world: load(tmp_path, world))
    assert [restored.step for restored, _ in found if restored] == [2, 2]
    assert_same(found[0][1], everything(*stepped(ALONE, seed=2)))


def test_when_every_checkpoint_is_damaged_nothing_is_trained_over_them(tmp_path: Path):
    flip(save(tmp_path, 1) / "stream.json")
    with pytest.raises(CheckpointError, match=r"none of the 1 checkpoints .*stream\.json has anot"):
        load(tmp_path)


def test_a_checkpoint_of_an_older_eosin_says_so(tmp_path: Path):
    (tmp_path / "step_00000001").mkdir()
    (tmp_path / "step_00000001" / "state.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="an older eosin wrote it; go on with that version"):
        load(tmp_path)


def test_a_checkpoint_of_other_networks_names_what_differs(tmp_path: Path):
    model, optimizer = stepped(ALONE, seed=1)
    del model.student["dino_head"]
    save_as(tmp_path, 1, ALONE, model, optimizer)
    with pytest.raises(CheckpointError, match=r"differ in model\.student\.dino_head"):
        load(tmp_path)


def save_on_a_small_disk(folder: Path, step: int, world: World, *, rank: int) -> str | None:
    """Return the error of a save in which one rank cannot write files of more than 20 kB."""
    model, optimizer = stepped(world, seed=step)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if world.rank == rank:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        save_as(folder, step, world, model, optimizer)
    except CheckpointError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return None


@pytest.mark.parametrize(("num_ranks", "full_rank"), [(1, 0), (2, 0), (2, 1)])
def test_a_disk_that_is_full_ends_all_ranks_and_leaves_the_older_checkpoint(
    tmp_path: Path, num_ranks: int, full_rank: int
):
    save(tmp_path, 1)
    errors = in_world(
        num_ranks, lambda world: save_on_a_small_disk(tmp_path, 2, world, rank=full_rank)
    )
    for error in errors:
        assert error is not None
        assert "cannot write the checkpoint" in error
        assert "step_00000002" in error
        assert "free some space" in error
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]
    assert_same(load(tmp_path)[1], everything(*stepped(ALONE, seed=1)))


def test_what_fails_on_the_main_process_alone_fails_on_all(tmp_path: Path):
    def attempt(world: World) -> str:
        with pytest.MonkeyPatch.context() as patched:
            if world.is_main:
                patched.setattr(checkpoint, "write_tensors", no_space)
            with pytest.raises(CheckpointError) as raised:
                save(tmp_path, 1, world)
        return str(raised.value)

    assert all("No space left" in error for error in in_world(2, attempt))
    assert not list(tmp_path.glob(".*"))


def no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_interrupt_in_the_middle_of_a_save_is_an_interrupt_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FileSystemWriter, "write_data", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_writes_to_another_disk_than_the_main_process_is_found(tmp_path: Path):
    def attempt(world: World) -> str:
        with pytest.MonkeyPatch.context() as patched:
            if not world.is_main:
                elsewhere = {"state/__1_7.distcp": {"size_bytes": 1, "crc32": 1}}
                patched.setattr(checkpoint, "_sums_of_own", lambda *_: elsewhere)
            with pytest.raises(CheckpointError) as raised:
                save(tmp_path, 1, world)
        return str(raised.value)

    assert all("all nodes must see the same folder" in error for error in in_world(2, attempt))
    assert list_checkpoints(tmp_path) == []


def test_an_old_checkpoint_that_cannot_be_removed_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    save(tmp_path, 1)
    monkeypatch.setattr(shutil, "rmtree", no_space)
    save(tmp_path, 2, keep=1)
    assert "step_00000001 cannot be removed" in caplog.text
    assert names(tmp_path) == [2]


def test_a_checkpoint_with_a_file_of_somebody_in_it_is_neither_removed_nor_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Row 1 of the faults: another member, old checkpoints were removed with whatever was there."""
    save(tmp_path, 1)
    (tmp_path / "step_00000001" / "why it diverged.txt").write_text("years")
    save(tmp_path, 2, keep=1)
    assert "step_00000001 stays, as it holds something that eosin did not write" in caplog.text
    with pytest.raises(CheckpointError, match="holds something that is not"):
        save(tmp_path, 1, keep=9)
    assert names(tmp_path) == [1, 2]
    assert (tmp_path / "step_00000001" / "why it diverged.txt").read_text() == "years"


def test_the_checksums_cover_every_file(of_two_ranks: Path):
    path = of_two_ranks / "step_00000003"
    listed = json.loads((path / ".complete").read_text())["files"]
    files = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
    assert sorted(listed) == sorted(name for name in files if name != ".complete")


def test_the_teacher_is_in_one_piece_and_is_read_without_its_heads(of_two_ranks: Path):
    assert teacher_files(of_two_ranks) == [
        of_two_ranks / f"step_0000000{step}" / "teacher.safetensors" for step in (2, 3)
    ]
    teacher = stepped(ALONE, seed=3)[0].teacher.state_dict()
    assert_same(load_file(teacher_files(of_two_ranks)[-1]), dict(teacher))
    step, backbone = load_teacher(of_two_ranks)
    assert step == 3
    prefix = "backbone."
    assert_same(
        backbone, {n.removeprefix(prefix): t for n, t in teacher.items() if n.startswith(prefix)}
    )


def test_a_damaged_teacher_is_passed_over(
    tmp_path: Path, of_two_ranks: Path, caplog: pytest.LogCaptureFixture
):
    shutil.copytree(of_two_ranks, tmp_path, dirs_exist_ok=True)
    cut(teacher_files(tmp_path)[-1])
    assert load_teacher(tmp_path)[0] == 2
    assert "is damaged and passed over" in caplog.text


def test_a_folder_without_a_teacher_says_to_train_first(tmp_path: Path):
    with pytest.raises(InputError, match="train first"):
        load_teacher(tmp_path)


def test_a_whole_state_is_on_the_main_process_only():
    def whole_teacher(world: World) -> dict[str, torch.Tensor]:
        return full_state_dict(stepped(world, seed=4)[0].teacher)

    main, other = in_world(2, whole_teacher)
    assert_same(main, dict(stepped(ALONE, seed=4)[0].teacher.state_dict()))
    assert other == {}


def test_names_do_not_tell_whether_blocks_were_compiled(tmp_path: Path):
    model, optimizer = stepped(ALONE, seed=1)
    backbone = model.student["backbone"]
    backbone.blocks[0] = torch.compile(backbone.blocks[0], backend="eager")
    assert any("_orig_mod" in name for name in model.state_dict())
    save_as(tmp_path, 1, ALONE, model, optimizer)
    assert_same(load(tmp_path)[1], everything(*stepped(ALONE, seed=1)))

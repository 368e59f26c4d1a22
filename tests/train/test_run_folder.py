import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from eosin.backends import MppPolicy, OpenSlideBackend
from eosin.catalog import SlideEntry
from eosin.errors import CheckpointError, ConfigError, InputError, TrainingError
from eosin.plain import to_plain
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from train.tiny import tiny_config


def test_settings_come_back_as_they_were_given(tmp_path: Path):
    run, config = RunFolder(tmp_path), tiny_config()
    backend = OpenSlideBackend(mpp=MppPolicy(overrides={"a.svs": 0.25}))
    run.claim(to_plain(config))
    slides = (
        SlideEntry(path="/x/a.svs", metadata={"organ": "lung", "tissue_mm2": 3.5, "is_ffpe": True}),
        SlideEntry(path="s3://b.svs", metadata={"organ": None}, fingerprint="12ab"),
    )
    run.write_down(slides, to_plain(backend))
    assert run.train_config == config
    assert run.entries == slides
    assert run.slides == ["/x/a.svs", "s3://b.svs"]
    assert run.backend == backend
    assert run.versions["torch"]


def test_a_model_of_hugging_face_is_no_run_and_its_settings_stay(
    tmp_path: Path, phantoms: list[Path]
):
    content = '{"model_type": "dinov2"}'
    (tmp_path / "config.json").write_text(content)
    assert not RunFolder(tmp_path).exists()
    with pytest.raises(CheckpointError, match="other settings"):
        train(tiny_config(), phantoms, tmp_path, site=Site(device="cpu"))
    assert (tmp_path / "config.json").read_text() == content


def test_paths_of_slides_hold_in_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("run"))
    run.path.mkdir()
    run.write_down([SlideEntry(path="a.svs")], None)
    assert run.slides == [str(tmp_path / "a.svs")]


def test_paths_alone_are_slides_with_what_their_names_say(tmp_path: Path):
    barcode = "TCGA-02-0001-01Z-00-DX1.abc.svs"
    (tmp_path / "slides.json").write_text(json.dumps(["/x/a.svs", f"/x/{barcode}"]))
    plain, tcga = RunFolder(tmp_path).entries
    assert plain == SlideEntry(path="/x/a.svs")
    assert tcga.metadata["patient"] == "TCGA-02-0001"


@pytest.mark.parametrize("listed", ['{"path": 1}', "[3]", '[{"path": "/x/a.svs"}]', "[]"])
def test_a_list_of_slides_that_is_none_says_so(tmp_path: Path, listed: str):
    (tmp_path / "slides.json").write_text(listed)
    with pytest.raises(InputError, match=r"slides\.json holds no list of slides"):
        _ = RunFolder(tmp_path).entries


def test_a_run_that_did_not_write_down_its_versions_has_none(tmp_path: Path):
    assert RunFolder(tmp_path).versions == {}


def test_a_run_of_other_settings_is_refused_by_the_names_of_the_fields(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.claim(to_plain(tiny_config()))
    with pytest.raises(CheckpointError, match=r"seed: was 0, now 3"):
        run.claim(to_plain(tiny_config(seed=3)))


def test_a_second_process_cannot_write_to_the_same_run(tmp_path: Path):
    with (
        RunFolder(tmp_path).locked(),
        pytest.raises(ConfigError, match="another process"),
        RunFolder(tmp_path).locked(),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of_and_trained_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    phantoms: list[Path],
    number: int,
):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    run = train(tiny_config(steps=1), phantoms, tmp_path / "run", site=Site(device="cpu"))
    assert len(run.metrics()) == 1
    assert caplog.text.count("nothing stops two runs from writing to it") == 1


def test_any_other_problem_with_the_lock_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"), RunFolder(tmp_path).locked():
        pass


def test_a_lock_is_given_back(tmp_path: Path):
    for _ in range(2):
        with RunFolder(tmp_path).locked():
            pass


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path):
    leftover = tmp_path / "checkpoints" / ".step_00000002.17.writing"
    leftover.mkdir(parents=True)
    with RunFolder(tmp_path).locked():
        assert not leftover.exists()


def test_a_damaged_line_of_metrics_costs_no_other_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run = RunFolder(tmp_path)
    for step in range(3):
        run.append_metrics({"step": step})
        if step == 1:
            with (tmp_path / "metrics.jsonl").open("ab") as file:
                file.write(b"\0\0\xff\n3\n")
    run.forget_steps_from(9)
    assert [record["step"] for record in run.metrics()] == [0, 1, 2]
    assert "2 damaged lines" in caplog.text


def test_metrics_forget_the_steps_that_are_done_again_and_half_a_line(tmp_path: Path):
    run = RunFolder(tmp_path)
    for step in range(4):
        run.append_metrics({"step": step, "loss": step / 3})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert [record["step"] for record in run.metrics()] == [0, 1, 2, 3]
    run.forget_steps_from(2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 0, "loss": 0.0},
        {"step": 1, "loss": 1 / 3},
    ]


def test_skipped_steps_are_forgotten_with_the_others_that_are_done_again(tmp_path: Path):
    run = RunFolder(tmp_path)
    for step in (1, 5):
        run.append_nonfinite({"step": step, "samples": []})
    run.forget_steps_from(3)
    assert run.nonfinite.read_text() == '{"step": 1, "samples": []}\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_named_with_the_file_and_what_to_do(tmp_path: Path):
    run = RunFolder(tmp_path)
    for name in ("metrics.jsonl", "nonfinite.jsonl"):
        (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"metrics\.jsonl .*No space left.*; free some space"):
        run.append_metrics({"step": 0})
    with pytest.raises(TrainingError, match=r"nonfinite\.jsonl .*No space left"):
        run.append_nonfinite({"step": 0})


def test_a_disk_that_fills_up_while_files_reach_it_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = RunFolder(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"metrics\.jsonl .*No space left.*; free some space"):
        run.flush_metrics()
    with pytest.raises(TrainingError, match=r"quarantine\.json .*No space left.*; free some"):
        run.write_quarantine({"a.svs": "no slide"})
    assert run.quarantine == {}


def test_a_folder_that_is_no_run_says_so(tmp_path: Path):
    with pytest.raises(InputError, match=r"no run.*config\.json"):
        _ = RunFolder(tmp_path).config


def test_damaged_settings_say_so(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"steps": ')
    with pytest.raises(InputError, match="damaged"):
        _ = RunFolder(tmp_path).train_config

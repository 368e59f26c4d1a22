import json
from pathlib import Path

import pytest

from eosin.backends import MppPolicy, OpenSlideBackend
from eosin.errors import CheckpointError, ConfigError, InputError, TrainingError
from eosin.plain import to_plain
from eosin.train.run_folder import RunFolder
from train.tiny import tiny_config


def test_settings_come_back_as_they_were_given(tmp_path: Path):
    run, config = RunFolder(tmp_path), tiny_config()
    backend = OpenSlideBackend(mpp=MppPolicy(overrides={"a.svs": 0.25}))
    run.claim(to_plain(config))
    run.write_down(["/x/a.svs", "s3://b.svs"], to_plain(backend))
    assert run.train_config == config
    assert run.slides == ["/x/a.svs", "s3://b.svs"]
    assert run.backend == backend
    assert run.versions["torch"]


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


def test_a_folder_that_is_no_run_says_so(tmp_path: Path):
    with pytest.raises(InputError, match=r"no run.*config\.json"):
        _ = RunFolder(tmp_path).config


def test_damaged_settings_say_so(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"steps": ')
    with pytest.raises(InputError, match="damaged"):
        _ = RunFolder(tmp_path).train_config

import json
from pathlib import Path

import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.plain import to_plain
from eosin.train.loop import train
from eosin.train.out_dir import refuse_folder_of_others
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from train.tiny import tiny_config


def test_a_new_folder_an_empty_one_and_a_run_with_whatever_is_in_it_are_taken(tmp_path: Path):
    refuse_folder_of_others(tmp_path / "deep" / "run")
    assert not (tmp_path / "deep").exists()
    refuse_folder_of_others(tmp_path)
    RunFolder(tmp_path).claim(to_plain(tiny_config()))
    (tmp_path / "my notes.txt").touch()
    refuse_folder_of_others(tmp_path)


def test_a_run_of_a_version_with_other_settings_is_left_to_the_comparison_of_settings(
    tmp_path: Path,
):
    settings = {"type": "eosin.elsewhere.TrainConfig", "an_old_setting": 1}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    refuse_folder_of_others(tmp_path)


def test_a_folder_with_somebodys_slides_and_notes_is_refused_by_their_names(tmp_path: Path):
    for name in ("b.svs", "c.svs", "d.svs", "a.txt", "masks"):
        (tmp_path / name).touch()
    says = rf"{tmp_path} is no run and holds a\.txt, b\.svs, c\.svs and 2 more; give an out_dir"
    with pytest.raises(ConfigError, match=says):
        refuse_folder_of_others(tmp_path)


def test_a_model_of_hugging_face_is_no_run_though_it_has_settings(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(ConfigError, match=r"is no run and holds config\.json; give"):
        refuse_folder_of_others(tmp_path)


def test_what_a_run_makes_before_its_settings_hidden_files_and_logs_do_not_count(tmp_path: Path):
    with RunFolder(tmp_path).locked():
        pass
    for name in ("crashes", "wandb"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "bank.npz", patches=np.zeros(1))
    for name in (".DS_Store", "train.log", "nohup.out", "report.html"):
        (tmp_path / name).touch()
    refuse_folder_of_others(tmp_path)
    (tmp_path / "slides.log").mkdir()
    with pytest.raises(ConfigError, match=r"holds slides\.log;"):
        refuse_folder_of_others(tmp_path)


def test_a_file_and_a_folder_below_one_are_refused_by_the_file(tmp_path: Path):
    (tmp_path / "file").touch()
    for out_dir in (tmp_path / "file", tmp_path / "file" / "deep" / "run"):
        with pytest.raises(ConfigError, match=rf"^{tmp_path / 'file'} is a file, so {out_dir} "):
            refuse_folder_of_others(out_dir)


def test_a_path_without_a_folder_is_looked_for_where_the_command_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    refuse_folder_of_others(Path("run"))
    (tmp_path / "run").touch()
    with pytest.raises(ConfigError, match=r"^run is a file"):
        refuse_folder_of_others(Path("run"))


@pytest.mark.parametrize(
    "name",
    [
        *("slides.json", "metrics.jsonl", "quarantine.jsonl", "versions.json", "bank.npz"),
        *("masks/drawn.png", "manifest/gdc.tsv", "best/mine.pt", "crashes/report.txt"),
        *("checkpoints/step_00000001/mine", "tensorboard/notes"),
    ],
)
def test_a_file_of_somebody_under_a_name_of_a_run_is_refused_and_stays(
    tmp_path: Path, phantoms: list[Path], name: str
):
    """Row 1 of the faults: another member, names of a run were taken for a run's and replaced."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("years")
    top = name.split("/", maxsplit=1)[0]
    with pytest.raises(ConfigError, match=f"is no run and holds {top};"):
        refuse_folder_of_others(tmp_path)
    with pytest.raises(ConfigError, match=f"is no run and holds {top};"):
        train(tiny_config(), phantoms, tmp_path, site=Site(device="cpu"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "years"


def test_giving_up_a_start_leaves_what_somebody_has_put_into_its_folders(tmp_path: Path):
    """Row 1 of the faults: another member, `best/`, `manifest/` and others were removed whole."""
    run = RunFolder(tmp_path)
    run.claim(to_plain(tiny_config()))
    mine = ("best/mine.pt", "manifest/gdc.tsv", "tensorboard/notes.md")
    ours = (
        *("best/best.json", "manifest/samples_000000000000.parquet", "bank.npz", "start.json"),
        *("tensorboard/events.out.tfevents.1.host.2.0",),
    )
    for name in (*mine, *ours):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "best.json").touch()
    run.forget_start()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*mine, "elsewhere/best.json"}


def test_a_link_of_somebody_is_not_followed_when_a_start_is_given_up(tmp_path: Path):
    """Row 1 of the faults: another member, a linked folder."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "best.json").touch()
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.claim(to_plain(tiny_config()))
    (run.path / "best").symlink_to(tmp_path / "theirs", target_is_directory=True)
    run.forget_start()
    assert (tmp_path / "theirs" / "best.json").exists()


def test_a_lock_file_of_somebody_is_not_emptied(tmp_path: Path):
    """Row 1 of the faults: another member, opening `.lock` to write emptied it."""
    (tmp_path / ".lock").write_text("mine")
    with RunFolder(tmp_path).locked():
        pass
    assert (tmp_path / ".lock").read_text() == "mine"

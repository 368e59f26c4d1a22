import json
from pathlib import Path

import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.plain import to_plain
from eosin.train.out_dir import refuse_folder_of_others
from eosin.train.run_folder import RunFolder
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

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import eosin.watch
from eosin.errors import ConfigError
from eosin.plain import from_plain, to_plain
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.watch.monitors import monitors_for
from eosin.watch.settings import OF_BANK, OF_LABELLED, Watch
from train.tiny import tiny_config
from watch.made_tiles import write_tiles

CPU = Site(device="cpu", num_threads=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_steps": 0}, "every_steps=0"),
        ({"bank_tiles": 3}, "bank_tiles=3 must be at least 16, or 0"),
        ({"labelled_max_tiles": 1}, "labelled_max_tiles=1"),
        ({"keep_best": "watch_knn_accuracy"}, "give watch.labelled_dir"),
        ({"keep_best": "watch_rankme", "bank_tiles": 0}, "give watch.bank_tiles"),
        ({"keep_best": "watch_knn"}, r"'watch_knn' .*choose of .*watch_rankme,.*watch_knn_acc"),
        ({"keep_best": "watch_mean_cosine"}, "no metric of which more is better"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        Watch(**settings)


def test_the_best_can_be_chosen_by_metrics_that_there_are():
    promised = set(re.findall(r"watch_\w+", eosin.watch.__doc__ or ""))
    assert promised > {*OF_BANK, *OF_LABELLED}


def test_settings_can_be_written_down_and_read_back():
    watch = Watch(every_steps=7, labelled_dir=Path("tiles"), keep_best="watch_rankme")
    assert to_plain(watch)["every_steps"] == 7
    plain = to_plain(replace(watch, labelled_dir=None))
    assert from_plain(plain) == replace(watch, labelled_dir=None)


def test_a_run_is_watched_as_it_is_asked(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=4, precision="float32")
    run = RunFolder(tmp_path / "run")
    watch = Watch(
        every_steps=2,
        bank_tiles=16,
        labelled_dir=write_tiles(tmp_path / "tiles", 6),
        keep_best="watch_knn_accuracy",
    )
    monitors = monitors_for(watch, config, phantoms, run, site=CPU)
    assert not run.path.exists()
    records = train(config, phantoms, run.path, site=CPU, monitors=monitors).metrics()
    looked = [record["step"] for record in records if "watch_rankme" in record]
    assert looked == [record["step"] for record in records if "watch_knn_accuracy" in record]
    assert looked == [0, 2, 3]
    assert all("watch_rss_gib" in record for record in records if sys.platform == "linux")
    assert (run.path / "best" / "best.json").exists()
    assert (run.path / "bank.npz").exists()


def test_a_run_can_be_watched_without_a_bank(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=2, precision="float32")
    run = RunFolder(tmp_path / "run")
    monitors = monitors_for(Watch(bank_tiles=0), config, phantoms, run, site=CPU)
    records = train(config, phantoms, run.path, site=CPU, monitors=monitors).metrics()
    assert "watch_patches_per_s" in records[1]
    assert not (run.path / "bank.npz").exists()
    assert not any("watch_kde" in record for record in records)

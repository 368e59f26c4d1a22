import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from eosin.errors import ConfigError, InputError
from eosin.evaluate.knn import Knn
from eosin.evaluate.labelled import LabelledTiles
from eosin.train.monitors import Monitor
from eosin.train.step import initial_model
from eosin.watch.features import teacher_features
from eosin.watch.labelled_watch import LabelledSet, LabelledWatch
from eosin.watch.schedule import Looks
from real_data import real_file
from train.tiny import tiny_config
from watch.made_tiles import write_tiles
from watch.monitor_contract import METRICS, MonitorContract

CONFIG = tiny_config(precision="float32")
SIZE = CONFIG.data.global_px
EVERY_STEP = Looks(every_steps=1, num_steps=4)


def look(tiles: LabelledSet) -> dict[str, float | int]:
    torch.manual_seed(0)
    watch = LabelledWatch(tiles, EVERY_STEP, size_px=SIZE)
    watch.run_started(0, 4)
    return dict(watch.step_done(0, METRICS, initial_model(CONFIG)))


class TestLabelledWatch(MonitorContract):
    @pytest.fixture
    def monitor(self, tmp_path: Path) -> Monitor:
        tiles = LabelledSet.from_folder(write_tiles(tmp_path / "tiles", 6), 100)
        return LabelledWatch(tiles, EVERY_STEP, size_px=SIZE)


def test_tiles_that_differ_are_told_by_their_neighbours(tmp_path: Path):
    seen = look(LabelledSet.from_folder(write_tiles(tmp_path, 8), 100))
    assert set(seen) == {"watch_knn_accuracy", "watch_knn_balanced_accuracy", "watch_labelled_s"}
    assert seen["watch_knn_accuracy"] == seen["watch_knn_balanced_accuracy"] == 1


def test_test_tiles_are_told_by_train_tiles_as_the_classifier_itself_would(tmp_path: Path):
    write_tiles(tmp_path / "train", 7)
    test = write_tiles(tmp_path / "test", 5)
    (test / "dark").rename(test / "swap")
    (test / "pale").rename(test / "dark")
    (test / "swap").rename(test / "pale")
    tiles = LabelledSet.from_folder(tmp_path, 100)
    assert tiles.num_tiles == 24
    # Names were exchanged in the test part, so all answers are wrong.
    assert look(tiles)["watch_knn_accuracy"] == 0


def test_of_many_tiles_the_same_ones_are_taken_from_each_class(tmp_path: Path):
    folder = write_tiles(tmp_path, 20)
    tiles = LabelledSet.from_folder(folder, 10)
    assert np.bincount(tiles.known.labels).tolist() == [5, 5]
    assert LabelledSet.from_folder(folder, 10).known.paths == tiles.known.paths
    with pytest.raises(ConfigError, match="2 classes"):
        LabelledSet.from_folder(folder, 1)


def test_of_many_tiles_a_rare_class_keeps_one(tmp_path: Path):
    train = write_tiles(tmp_path / "train", 40, ("dark", "middle", "pale"))
    for path in sorted((train / "middle").iterdir())[1:]:
        path.unlink()
    shutil.copytree(train, tmp_path / "test")
    tiles = LabelledSet.from_folder(tmp_path, 11)
    assert tiles.asked is not None
    for part in (tiles.known, tiles.asked):
        assert np.bincount(part.labels).tolist() == [5, 1, 5]
        assert len(set(part.paths)) == 11


def test_tiles_of_nobody_known_that_tell_each_other_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    LabelledSet.from_folder(write_tiles(tmp_path / "whole", 3), 100)
    assert "part them into train/ and test/ by patient" in caplog.text


def test_a_barcode_in_a_tiles_name_is_its_group(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = write_tiles(tmp_path, 3)
    for path in sorted(folder.rglob("*.png")):
        patient = f"TCGA-CR-739{path.stem[-1]}"
        path.rename(path.with_name(f"{patient}-01Z-00-DX1_{path.name}"))
    tiles = LabelledSet.from_folder(folder, 100)
    assert set(tiles.known.groups) == {f"TCGA-CR-739{number}" for number in range(3)}
    assert tiles.folds is not None
    by_patient = zip(tiles.known.groups, tiles.folds.tolist(), strict=True)
    assert len(set(by_patient)) == 3
    assert caplog.text == ""


def test_classes_of_one_patient_each_are_refused(tmp_path: Path):
    folder = write_tiles(tmp_path, 3)
    for path in sorted(folder.rglob("*.png")):
        patient = "TCGA-CR-7395" if path.parent.name == "dark" else "TCGA-CR-7396"
        path.rename(path.with_name(f"{patient}-01Z-00-DX1_{path.name}"))
    with pytest.raises(InputError, match="add patients"):
        LabelledSet.from_folder(folder, 100)


def test_parts_of_different_classes_are_refused(tmp_path: Path):
    write_tiles(tmp_path / "train", 2)
    write_tiles(tmp_path / "test", 2, names=("dark", "red"))
    with pytest.raises(InputError, match="pale only in train/ and red only in test/"):
        LabelledSet.from_folder(tmp_path, 100)


def test_of_oblong_tiles_the_middle_is_looked_at_and_bad_ones_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Rows 15, 16 and 19 of the faults: the rules for tiles are those of an evaluation."""
    folder = write_tiles(tmp_path, 8)
    tile = cv2.imread(str(folder / "dark" / "000.png"))
    cv2.imwrite(str(folder / "dark" / "000.png"), np.pad(tile, ((0, 0), (30, 30), (0, 0))))
    (folder / "pale" / "001.png").write_bytes(b"no image")
    (folder / "pale" / "Thumbs.db").touch()
    shutil.copy(folder / "pale" / "002.png", folder / "pale" / "003.png")
    tiles = LabelledSet.from_folder(folder, 100)
    assert tiles.num_tiles == 15
    assert look(tiles)["watch_knn_accuracy"] == 1
    said = caplog.text
    assert "left out: 1 of 16 (pale/001.png cannot be decoded" in said
    assert "oblong tiles, of which" in said
    assert "pale/Thumbs.db" in said
    assert "copies of others: 1 (pale/002.png = pale/003.png)" in said


def test_real_tiles_are_told_as_by_the_classifier_on_the_teachers_features():
    folder = real_file("data", "tiles", "colorectal")
    tiles = LabelledSet.from_folder(folder, 40)
    seen = look(tiles)
    torch.manual_seed(0)
    model = initial_model(CONFIG)

    def embedded(part: LabelledTiles):
        images = [
            cv2.resize(part.read(i), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            for i in range(len(part))
        ]
        features = teacher_features(model, torch.from_numpy(np.stack(images)))
        return part.with_features(features.joined.numpy())

    assert tiles.asked is not None
    known, asked = embedded(tiles.known), embedded(tiles.asked)
    accuracy = (Knn().predict(known, asked.features) == asked.labels).mean()
    assert seen["watch_knn_accuracy"] == pytest.approx(accuracy)

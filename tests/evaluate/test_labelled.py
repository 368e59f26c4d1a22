from dataclasses import replace

import cv2
import numpy as np
import pytest

from eosin.errors import ConfigError, InputError
from eosin.evaluate.labelled import LabelledTiles
from evaluate.samples import blobs


@pytest.fixture
def folder(tmp_path):
    """Three tiles of two classes and two patients, with things beside them that are none."""
    for name, red in (("tumour/p1_a.png", 200), ("tumour/p2_b.JPG", 90), ("normal/p1_c.png", 10)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 6, 3), (0, 0, red), dtype=np.uint8))
    (tmp_path / "tumour" / "notes.txt").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "labels.csv").touch()
    return tmp_path


def test_class_folders_give_paths_labels_and_class_names_in_order(folder):
    tiles = LabelledTiles.from_folder(folder)
    assert len(tiles) == 3
    assert tiles.class_names == ("normal", "tumour")
    assert [path.name for path in tiles.paths] == ["p1_c.png", "p1_a.png", "p2_b.JPG"]
    assert tiles.labels.tolist() == [0, 1, 1]
    assert len(set(tiles.groups)) == 3


def test_a_function_of_the_path_gives_groups(folder):
    tiles = LabelledTiles.from_folder(folder, group_of=lambda path: path.name.split("_")[0])
    assert tiles.groups == ("p1", "p1", "p2")


def test_tiles_are_read_as_rgb(folder):
    tile = LabelledTiles.from_folder(folder).read(0)
    assert tile.shape == (8, 6, 3)
    np.testing.assert_array_equal(tile[0, 0], [10, 0, 0])


def test_features_are_joined_with_the_tiles(folder):
    tiles = LabelledTiles.from_folder(folder)
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    joined = tiles.with_features(features)
    assert joined.features is features
    assert joined.labels.tolist() == [0, 1, 1]
    assert joined.names[0].endswith("p1_c.png")
    with pytest.raises(ConfigError, match="3 labels for 2 features"):
        tiles.with_features(features[:2])


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_broken_tile_is_refused_by_name(folder, content):
    (folder / "normal" / "p1_c.png").write_bytes(content)
    with pytest.raises(InputError, match=r"p1_c\.png cannot be decoded"):
        LabelledTiles.from_folder(folder).read(0)


def test_a_folder_that_is_none_one_class_and_an_empty_class_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        LabelledTiles.from_folder(tmp_path / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no image"):
        LabelledTiles.from_folder(folder)
    with pytest.raises(InputError, match="0 class folders"):
        LabelledTiles.from_folder(folder / "tumour")


def test_features_that_are_not_finite_are_refused_by_sample():
    good = blobs(20)
    features = good.features.copy()
    features[7, 1] = np.inf
    with pytest.raises(InputError, match=r"1 samples .* slide tile 7"):
        replace(good, features=features)


def test_labels_without_a_class_and_empty_sets_are_refused():
    good = blobs(20)
    with pytest.raises(ConfigError, match="2 classes: a, b"):
        replace(good, class_names=("a", "b"))
    nothing = {name: getattr(good, name)[:0] for name in ("features", "labels", "names", "groups")}
    with pytest.raises(ConfigError, match="no labelled features"):
        replace(good, **nothing)

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from eosin.embed.colour import ColourHistogram
from eosin.errors import InputError
from eosin.evaluate.tiles import evaluate_tiles, list_tiles


def write_tiles(folder: Path, classes: Sequence[str], *, num: int = 6) -> None:
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(num):
            tile = (rng.integers(0, 30, (8, 8, 3)) + 200 * label).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), tile)


def test_tiles_of_two_colours_are_told_apart_by_colour(tmp_path: Path):
    for part in ("train", "test"):
        write_tiles(tmp_path / part, ("dark", "light"))
    comparison = evaluate_tiles({"colour": ColourHistogram(8)}, list_tiles(tmp_path))
    assert comparison.note == f"12 tiles of {tmp_path}, from 12 others"
    assert comparison.class_names == ("dark", "light")
    assert comparison.results["colour"][0].accuracy.value == 1


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (("a", "b", "c"), ("a", "b"), r"classes c only in train/; give both"),
        (("a", "b"), ("a", "b", "d", "c"), r"classes c, d only in test/; give both"),
        (("a", "b"), ("a", "B"), r"classes b only in train/ and B only in test/; give both"),
    ],
)
def test_other_classes_in_the_test_part_are_refused_by_their_names(
    tmp_path: Path, train: tuple[str, ...], test: tuple[str, ...], says: str
):
    write_tiles(tmp_path / "train", train, num=1)
    write_tiles(tmp_path / "test", test, num=1)
    with pytest.raises(InputError, match=says):
        list_tiles(tmp_path)


def test_listing_reads_no_tile(tmp_path: Path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "0.png").touch()
    tiles = list_tiles(tmp_path)
    assert (len(tiles.train), len(tiles.test)) == (2, 2)
    with pytest.raises(
        InputError, match=r"class a of .*train has no tile .* 0\.png cannot be decoded"
    ):
        evaluate_tiles({"colour": ColourHistogram(8)}, tiles)

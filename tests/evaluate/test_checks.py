"""Rows 15, 16 and 19 of the faults: what is wrong with tiles is said before the numbers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eosin.embed.colour import ColourHistogram
from eosin.errors import InputError
from eosin.evaluate.comparison import ModelComparison
from eosin.evaluate.tiles import evaluate_tiles, list_tiles
from eosin.plain import from_json, to_json

ENCODERS = {"colour": ColourHistogram(8)}


def tile(number: int, height: int = 8, width: int = 8) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three different tiles of each class in either part."""
    for at, part in enumerate(("train", "test")):
        for label, name in enumerate(("AC", "H")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(3):
                path = tmp_path / part / name / f"{number}.png"
                tile(100 * at + 10 * label + number).save(path)
    return tmp_path


def evaluated(folder: Path) -> ModelComparison:
    return evaluate_tiles(ENCODERS, list_tiles(folder))


def test_sound_tiles_give_numbers_without_a_word(folder: Path):
    comparison = evaluated(folder)
    assert comparison.warnings == ()
    assert comparison.describe().startswith("colour")


def test_tiles_of_train_that_are_in_test_are_told_before_the_numbers(folder: Path):
    """Row 16 of the faults: 6 of 18 were, without a word. Also packed or named otherwise."""
    for number in range(2):
        twin = folder / "train" / "AC" / f"{number}.png"
        Image.open(twin).save(folder / "test" / "AC" / f"renamed {number}.bmp")
    comparison = evaluated(folder)
    (line,) = comparison.warnings
    assert line.startswith(
        "tiles of test/ that are in train/ as well, pixel for pixel, which makes"
    )
    assert (
        ": 2 of 8 (test/AC/renamed 0.bmp = train/AC/0.png, test/AC/renamed 1.bmp = train/AC/1.png"
        in line
    )
    assert comparison.describe().startswith(f"warning: {line}\ncolour")
    stored = json.loads(json.dumps(comparison.to_json()))
    assert stored["warnings"] == [line]
    assert len(stored["details"]["pixels in train and test"]) == 2
    assert ModelComparison.from_json(stored).warnings == (line,)


def test_copies_within_a_part_and_tiles_of_two_classes_are_told(folder: Path):
    """Row 16 of the faults: equal tiles also weigh double, and some have contradicting labels."""
    for number in range(4):
        tile(7).save(folder / "train" / "AC" / f"copy {number}.png")
    tile(10).save(folder / "train" / "AC" / "of the other class.png")
    copies, contradicting = evaluated(folder).warnings
    assert copies.startswith("tiles of train/ that are copies of others: 4 (train/AC/copy 0.png = ")
    assert contradicting == (
        "pictures that are in two classes, of which one is wrong: "
        "1 (train/AC/of the other class.png = train/H/0.png)"
    )


def test_patients_in_both_parts_are_told_where_names_say_so(folder: Path):
    """Row 16 of the faults: other tiles of the same patient make numbers too good as well."""
    for part, slide in (("train", "01Z-00-DX1"), ("test", "01Z-00-DX2")):
        tile(1000 + ord(part[1])).save(folder / part / "H" / f"TCGA-AB-1234-{slide}_7.png")
    (line,) = evaluated(folder).warnings
    assert line.startswith("patients with tiles in both train/ and test/")
    assert line.endswith(": 1 (TCGA-AB-1234)")


STRAY = ("Thumbs.db", "desktop.ini", "._0.png", ".DS_Store", "README.txt", "labels.xml", "0.PNG~")


def test_what_other_systems_leave_among_tiles_is_passed_over_and_counted(folder: Path):
    """Row 19 of the faults: a stray file ended the evaluation."""
    before = evaluated(folder)
    for name in STRAY:
        (folder / "train" / "AC" / name).write_bytes(b"\0\5\x16\7 not an image")
    (folder / "test" / "__MACOSX").mkdir()
    (folder / "test" / "@eaDir").mkdir()
    (folder / "test" / "labels.csv").touch()
    comparison = evaluated(folder)
    hidden, suffixes, beside = comparison.warnings
    assert hidden.startswith("hidden files, and what other systems leave, passed over: 6 (train")
    assert hidden.endswith("train/AC/.DS_Store, train/AC/._0.png, train/AC/Thumbs.db and 3 more)")
    assert suffixes.startswith("files without the suffix of an image, passed over: 3 (train/AC/0")
    assert beside.endswith(": 1 (test/labels.csv)")
    assert comparison.results == before.results
    assert comparison.note == before.note


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_damaged_tile_is_left_out_by_name_and_said(folder: Path, content: bytes):
    """Row 19 of the faults: one bad tile ended the evaluation of all others."""
    (folder / "test" / "H" / "1.png").write_bytes(content)
    comparison = evaluated(folder)
    (line,) = comparison.warnings
    assert line.startswith(
        "tiles that cannot be decoded and are left out: 1 of 12 "
        "(test/H/1.png cannot be decoded as an image: it is no readable"
    )
    assert comparison.note.startswith("5 tiles of ")
    assert len(comparison.results["colour"][0].targets) == 5


def test_a_tile_that_is_cut_off_or_not_in_8_bits_is_left_out_with_the_reason(folder: Path):
    """Rows 15 and 19 of the faults: pixels that are guessed must not become numbers."""
    first, second = (folder / "test" / "AC" / f"{number}.png" for number in range(2))
    first.write_bytes(first.read_bytes()[:-30])
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(second)
    (line,) = evaluated(folder).warnings
    assert ": 2 of 12 (test/AC/0.png cannot be decoded as an image" in line
    assert "it is damaged (" in line
    assert "test/AC/1.png cannot be decoded as an image: it has 16 bits a channel" in line


def test_a_class_of_which_nothing_can_be_read_is_refused(folder: Path):
    for number in range(3):
        (folder / "test" / "H" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"class H of .*test has no tile that .* 0\.png cannot be"):
        evaluated(folder)


def test_folders_in_class_folders_links_and_what_is_no_file_are_told(folder: Path):
    """Row 19 of the faults: tiles in a folder for each patient were left out without a word."""
    (folder / "train" / "AC" / "patient 1").mkdir()
    tile(50).save(folder / "train" / "AC" / "patient 1" / "0.png")
    (folder / "train" / "AC" / "gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "train" / "H" / "pipe.png")
    (folder / "elsewhere").mkdir()
    (folder / "train" / "H").rename(folder / "elsewhere" / "H")
    (folder / "train" / "H").symlink_to(folder / "elsewhere" / "H")
    comparison = evaluated(folder)
    nothing, within = comparison.warnings
    assert within == "folders inside class folders, not looked into: 1 (train/AC/patient 1)"
    assert nothing.endswith(": 2 (train/AC/gone.png, train/H/pipe.png)")
    assert comparison.note.endswith("from 6 others")


def test_a_layout_that_is_not_understood_is_refused_with_what_is_there(folder: Path):
    """Row 19 of the faults: each line says what to do."""
    (folder / "train" / "AC" / "deep").mkdir()
    for number in range(3):
        path = folder / "train" / "AC" / f"{number}.png"
        path.rename(path.parent / "deep" / path.name)
    with pytest.raises(InputError, match=r"AC has no image .*move the tiles up out of the folders"):
        list_tiles(folder)
    with pytest.raises(InputError, match=r"no folder train and no folder test \(it holds AC, H\)"):
        list_tiles(folder / "test")
    (folder / "labels.csv").write_text("path;label\na.png;AC\n")
    with pytest.raises(InputError, match=r"labels\.csv is a table, .* whatever separates"):
        list_tiles(folder / "labels.csv")


def test_oblong_tiles_and_orientation_tags_are_told(folder: Path):
    """Row 15 of the faults: what the model's processor does to them is what is evaluated."""
    tile(60, 8, 14).save(folder / "test" / "AC" / "oblong.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    tile(61).save(folder / "test" / "AC" / "turned.png", exif=exif)
    turned, oblong = evaluated(folder).warnings
    assert turned.endswith("(EXIF), which is not applied: 1 (test/AC/turned.png)")
    assert oblong.startswith("oblong tiles, of which the model gets what its processor makes")


def test_names_that_are_no_text_are_told_and_stored(folder: Path):
    """Row 19 of the faults: a name that is not UTF-8, or has a line break, breaks no output."""
    odd = os.fsencode(folder / "test" / "H") + b"/b\xfcd\n.png"
    Path(os.fsdecode(odd)).write_bytes(b"no image")
    comparison = evaluated(folder)
    assert comparison.describe().splitlines()[0].startswith("warning: tiles that cannot be decoded")
    assert "test/H/b\\xFCd\\x0A.png cannot" in comparison.describe()
    stored = ModelComparison.from_json(from_json(to_json(comparison.to_json())))
    assert stored.warnings == comparison.warnings

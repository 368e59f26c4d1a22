"""Copies in a list of slides: the same to the last byte, or not left out."""

import numpy as np
import pytest

from eosin.backends import AutoBackend
from eosin.backends.files import file_fingerprint
from eosin.catalog import list_slides
from eosin.scan import scan_slides, summary
from made_slides import smooth_tissue, write_slide
from scan.scanning import plan_of


@pytest.fixture
def slides(tmp_path):
    """A damaged slide, the sound one and a copy of it, all of one fingerprint."""
    rng = np.random.default_rng(0)
    image = smooth_tissue(1024, 1024)
    image ^= rng.integers(0, 8, image.shape, np.uint8)
    folder = tmp_path / "slides"
    folder.mkdir()
    good = write_slide(folder / "b good.svs", image, compression="jpeg")
    content = bytearray(good.read_bytes())
    (folder / "c copy.svs").write_bytes(content)
    middle = 80_000
    content[middle : middle + 600] = bytes(600)
    (folder / "a damaged.svs").write_bytes(content)
    assert len({file_fingerprint(path) for path in folder.iterdir()}) == 1
    return folder


def test_a_damaged_slide_is_no_copy_of_the_sound_one_nor_the_sound_one_of_it(slides, caplog):
    """Row 34 of the faults: the damaged one, which came first, was kept, the sound one left out."""
    index = slides.parent / "index.parquet"
    damaged, good, copy = scan_slides(list_slides(slides), index, plan_of(AutoBackend()))
    assert [row.duplicate_of for row in (damaged, good, copy)] == [None, None, good.path]
    for row, other in ((damaged, good), (good, damaged)):
        (note,) = [note for note in row.scan_notes if "but is no copy" in note]
        assert other.path in note
        assert f"{row.path} {note}" in caplog.text
    assert "b good.svs" in summary([damaged, good, copy])
    assert [entry.name for entry in list_slides(index)] == ["a damaged.svs", "b good.svs"]


def test_a_second_scan_says_the_same_of_each(slides):
    index = slides.parent / "index.parquet"
    first = scan_slides(list_slides(slides), index, plan_of(AutoBackend()))
    assert scan_slides(list_slides(slides), index, plan_of(AutoBackend())) == first
    (slides / "a damaged.svs").unlink()
    good, copy = scan_slides(list_slides(slides), index, plan_of(AutoBackend()))
    assert (good.scan_notes, copy.duplicate_of) == ((), good.path)


def test_a_copy_that_cannot_be_compared_is_kept(slides, monkeypatch):
    def fail(*_: object) -> bool:
        raise OSError("the disk is gone")

    monkeypatch.setattr("eosin.scan.run.have_same_content", fail)
    rows = scan_slides(list_slides(slides), slides.parent / "i.parquet", plan_of(AutoBackend()))
    assert [row.duplicate_of for row in rows] == [None] * 3

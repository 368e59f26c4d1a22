import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from eosin.backends import OpenSlideBackend, SyntheticBackend
from eosin.errors import InputError, SlideReadError
from eosin.tissue import HSVTissueDetector, MaskStore, OtsuTissueDetector, TissueMask, TissueSource
from made_slides import smooth_tissue, write_slide

HSV = HSVTissueDetector()


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted(TissueSource):
    """Says in a file how often it was asked."""

    log: Path
    share: float = 0.5
    key: str = ""

    def tissue(self, slide):
        with self.log.open("a") as log:
            log.write("asked\n")
        mask = np.random.default_rng(0).random((90, 120)) < self.share
        return TissueMask(mask, width_l0=slide.info.width_l0, height_l0=slide.info.height_l0)

    def content_key(self, slide):
        return self.key

    @property
    def num_asked(self):
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@dataclass(frozen=True)
class Unreadable(TissueSource):
    def tissue(self, slide):
        raise SlideReadError(slide.info.path, "was made to fail")


@pytest.fixture
def source(tmp_path):
    return Counted(log=tmp_path / "log")


@pytest.fixture
def store(tmp_path):
    return MaskStore(tmp_path / "masks")


def made(path="made://a", **settings):
    return SyntheticBackend(**settings).open(path)


def same(one: TissueMask, other: TissueMask) -> bool:
    frames = [(m.width_l0, m.height_l0, m.cell_width_l0, m.cell_height_l0) for m in (one, other)]
    return frames[0] == frames[1] and np.array_equal(one.mask, other.mask)


def test_a_mask_is_computed_once_and_then_read(store, source):
    first, second = (store.tissue(made(), source) for _ in range(2))
    assert source.num_asked == 1
    assert same(first, second)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_empty_and_full_masks_are_kept_too(store, source, tmp_path, share):
    source = Counted(log=tmp_path / "log", share=share)
    assert not store.has(made(), source)
    masks = [store.tissue(made(), source) for _ in range(3)]
    assert source.num_asked == 1
    assert store.has(made(), source)
    assert masks[2].tissue_fraction == share


def test_a_mask_of_other_settings_slide_or_file_is_another(store, tmp_path):
    log = tmp_path / "log"
    asked = [
        (made(), Counted(log=log)),
        (made(), Counted(log=log, share=0.4)),
        (made(), Counted(log=log, key="edited")),
        (made("made://b"), Counted(log=log)),
        (made(mpp=0.5), Counted(log=log)),
        (made(mpp=None), Counted(log=log)),
    ]
    paths = {store.path_of(slide, source) for slide, source in asked}
    assert len(paths) == len(asked)
    assert store.path_of(made(), HSV) != store.path_of(made(), OtsuTissueDetector())


def test_a_slide_that_moved_keeps_its_mask(store, tmp_path):
    path = write_slide(tmp_path / "a.svs", smooth_tissue(600, 500))
    with OpenSlideBackend().open(path) as slide:
        before = store.tissue(slide, HSV)
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / "b.svs")
    with OpenSlideBackend().open(moved) as slide:
        assert store.has(slide, HSV)
        assert same(store.tissue(slide, HSV), before)


def test_a_slide_whose_content_changed_gets_a_new_mask(store, tmp_path):
    found = []
    for seed, width in ((0, 600), (1, 608)):
        path = write_slide(tmp_path / "a.svs", smooth_tissue(width, 500, seed))
        with OpenSlideBackend().open(path) as slide:
            found.append(store.has(slide, HSV))
            store.tissue(slide, HSV)
    assert found == [False, False]


def test_a_stored_mask_is_a_picture(store, source):
    tissue = store.tissue(made(), source)
    picture = cv2.imread(str(store.path_of(made(), source)), cv2.IMREAD_GRAYSCALE)
    assert ((picture == 255) == tissue.mask).all()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_computed_again_and_replaced(store, source, share):
    store.tissue(made(), source)
    path = store.path_of(made(), source)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert not store.has(made(), source)
    store.tissue(made(), source)
    assert source.num_asked == 2
    assert path.read_bytes() == content


def test_a_file_with_any_byte_changed_is_computed_again(store, source):
    tissue = store.tissue(made(), source)
    path = store.path_of(made(), source)
    content = path.read_bytes()
    places = np.random.default_rng(0).integers(len(content), size=60)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        assert same(store.tissue(made(), source), tissue)
    assert source.num_asked == 1 + len(places)
    assert path.read_bytes() == content


def test_a_store_that_cannot_be_written_is_refused_with_its_name(tmp_path, source):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"file/.*cannot be written"):
        MaskStore(tmp_path / "file").tissue(made(), source)


def test_a_read_only_folder_is_refused_only_when_a_mask_is_missing(store, source, monkeypatch):
    store.tissue(made(), source)

    def refuse(path, content):
        # Folders without write permission, for root too.
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert store.tissue(made(), source).shape == (90, 120)
    with pytest.raises(InputError, match="cannot be written"):
        store.tissue(made("made://b"), source)


def test_a_mask_that_is_there_is_read_without_touching_the_folder(store, source):
    store.tissue(made(), source)
    folder = store.path_of(made(), source).parent
    before = [(p.name, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()]
    folder_time = folder.stat().st_mtime_ns
    store.tissue(made(), source)
    after = [(p.name, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()]
    assert (after, folder.stat().st_mtime_ns) == (before, folder_time)


def test_a_slide_without_a_mask_leaves_nothing_behind(store):
    with pytest.raises(SlideReadError):
        store.tissue(made(), Unreadable())
    assert not store.folder.exists()


def test_threads_that_want_the_same_masks_get_them_whole(store, source):
    slides = [made(f"made://{number % 3}") for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        masks = list(pool.map(lambda slide: store.tissue(slide, source), slides))
    assert all(same(mask, masks[0]) for mask in masks)
    assert sorted(p.suffix for p in store.folder.rglob("*") if p.is_file()) == [".png"] * 3
    assert not list(store.folder.rglob(".*"))


def _fill(store: MaskStore, source: Counted, wrong: "multiprocessing.Queue[int]") -> None:
    expected = source.tissue(made())
    bad = 0
    for round_number in range(40):
        slide = made(f"made://{round_number % 4}")
        path = store.path_of(slide, source)
        if round_number % 5 == 0 and path.exists():
            path.write_bytes(path.read_bytes()[:-9])
        bad += not same(store.tissue(slide, source), expected)
    wrong.put(bad)


def test_processes_that_write_and_damage_the_same_masks_all_get_whole_ones(store, source):
    context = multiprocessing.get_context("fork")
    wrong = context.Queue()
    workers = [context.Process(target=_fill, args=(store, source, wrong)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert [wrong.get(timeout=300) for _ in workers] == [0, 0, 0, 0]
    for worker in workers:
        worker.join()
    assert not list(store.folder.rglob(".*"))


def test_a_process_killed_while_writing_leaves_no_mask_that_is_believed(store, source, tmp_path):
    code = (
        "import os, pathlib, sys\n"
        "from pathlib import Path\n"
        "pathlib.Path.replace = lambda *_: os._exit(9)\n"
        "from eosin.backends import SyntheticBackend\n"
        "from eosin.tissue import HSVTissueDetector, MaskStore\n"
        "slide = SyntheticBackend().open('made://a')\n"
        f"MaskStore(Path({str(store.folder)!r})).tissue(slide, HSVTissueDetector())\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert list(store.folder.rglob("*.writing.png"))
    assert not store.has(made(), HSV)
    assert same(store.tissue(made(), HSV), HSV.tissue(made()))

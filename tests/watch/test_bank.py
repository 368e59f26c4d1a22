from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eosin.backends.auto import AutoBackend
from eosin.backends.patch import read_patch
from eosin.catalog import SlideEntry
from eosin.errors import CheckpointError
from eosin.train.stream import make_pipeline
from eosin.watch.bank import TileBank, draw_bank
from train.tiny import tiny_config

CONFIG = tiny_config()


def arrays(bank: TileBank) -> dict[str, np.ndarray]:
    return {name: getattr(bank, name) for name in TileBank.__dataclass_fields__}


def same(one: TileBank, other: TileBank) -> bool:
    pairs = zip(arrays(one).values(), arrays(other).values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def bank(phantoms: list[Path]) -> TileBank:
    return draw_bank(CONFIG, phantoms, 12)


def test_a_bank_holds_tiles_of_all_slides_and_two_views_of_each(
    bank: TileBank, phantoms: list[Path]
):
    size = CONFIG.data.global_px
    assert bank.patches.shape == (12, 256, 256, 3)
    assert bank.first_views.shape == bank.second_views.shape == (12, size, size, 3)
    assert set(bank.slides) == {path.name for path in phantoms}
    assert not np.array_equal(bank.first_views, bank.second_views)


def test_a_bank_says_where_its_tiles_are(bank: TileBank, phantoms: list[Path]):
    paths = {path.name: str(path) for path in phantoms}
    stream = make_pipeline(CONFIG, phantoms)
    sample = next(iter(stream))
    for number in range(3):
        place = replace(
            sample.coordinate,
            slide_path=paths[bank.slides[number]],
            x=int(bank.x[number]),
            y=int(bank.y[number]),
        )
        with AutoBackend().open(paths[bank.slides[number]]) as slide:
            levels = [level.downsample for level in slide.info.levels]
            assert slide.info.mpp is not None
            finest = slide.info.mpp.mean
            read_px = round(256 * bank.mpp[number] / finest)
            level = max(i for i, down in enumerate(levels) if down * finest <= bank.mpp[number])
            read = round(read_px / levels[level])
            place = replace(
                place, level=level, read_width=read, read_height=read, mpp=float(bank.mpp[number])
            )
            assert np.array_equal(read_patch(slide, place), bank.patches[number])
    stream.close()


def test_the_same_run_draws_the_same_bank_and_another_seed_another(
    bank: TileBank, phantoms: list[Path]
):
    assert same(bank, draw_bank(CONFIG, phantoms, 12, num_threads=2))
    assert not same(bank, draw_bank(replace(CONFIG, seed=1), phantoms, 12))


def test_no_tile_of_a_bank_is_a_sample_of_the_run(bank: TileBank, phantoms: list[Path]):
    stream = make_pipeline(CONFIG, phantoms)
    samples = [stream.read(index).coordinate for index in range(100)]
    stream.close()
    places = {(Path(at.slide_path).name, at.x, at.y) for at in samples}
    drawn = zip(bank.slides.tolist(), bank.x.tolist(), bank.y.tolist(), strict=True)
    assert not places & set(drawn)


def test_a_bank_is_read_back_as_it_was_written(bank: TileBank, tmp_path: Path):
    bank.save(tmp_path / "bank.npz")
    assert same(TileBank.load(tmp_path / "bank.npz"), bank)


@pytest.mark.parametrize("content", [b"", b"not a bank"])
def test_a_damaged_bank_is_refused_with_what_to_do(tmp_path: Path, content: bytes):
    path = tmp_path / "bank.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="remove it, and a new bank is drawn"):
        TileBank.load(path)


def test_patients_and_sites_come_from_the_slide_list_or_a_barcode(phantoms: list[Path]):
    listed = tuple(
        SlideEntry(path=str(path), metadata={"patient": patient, "tissue_source_site": site})
        for path, patient, site in zip(phantoms, ("P8", "P7", "P8"), ("Q", "R", "Q"), strict=True)
    )
    bank = draw_bank(CONFIG, listed, 6)
    numbers = {
        (slide, patient, site)
        for slide, patient, site in zip(
            bank.slides.tolist(), bank.patients.tolist(), bank.sites.tolist(), strict=True
        )
    }
    first, second, third = (path.name for path in phantoms)
    assert numbers == {
        (first, "00002", "00001"),
        (second, "00001", "00002"),
        (third, "00002", "00001"),
    }, "numbers in the order of the names"
    bank = draw_bank(CONFIG, phantoms[1:2], 2)
    assert (bank.patients.tolist(), bank.sites.tolist()) == (["00001"] * 2, [""] * 2)


def test_a_barcode_in_a_files_name_is_read(phantoms: list[Path], tmp_path: Path):
    barcodes = ("TCGA-CR-7395-01A-01-TS1", "TCGA-CR-7395-01Z-00-DX1", "TCGA-BA-4074-01Z-00-DX1")
    slides = [tmp_path / f"{barcode}{phantoms[0].suffix}" for barcode in barcodes]
    for slide, phantom in zip(slides, phantoms, strict=True):
        slide.symlink_to(phantom)
    bank = draw_bank(CONFIG, slides, 6)
    numbers = set(
        zip(bank.slides.tolist(), bank.patients.tolist(), bank.sites.tolist(), strict=True)
    )
    first, second, third = (slide.name for slide in slides)
    assert numbers == {
        (first, "00002", "00002"),
        (second, "00002", "00002"),
        (third, "00001", "00001"),
    }

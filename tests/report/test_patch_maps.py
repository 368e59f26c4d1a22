import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from eosin.catalog import SlideNames
from eosin.errors import InputError
from eosin.report import patch_maps
from eosin.report.patch_maps import NamedTile, bank_tiles, map_section, stream_tiles, token_maps
from eosin.report.stream import sample_stream
from eosin.train.checkpoint import teacher_files
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.watch.bank import draw_bank
from train.tiny import tiny_config

SHOWN = SlideNames([], anonymous=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Path:
    """A run of eight steps with all its checkpoints; not to be changed."""
    config = tiny_config(steps=8, checkpoint_every_steps=1, keep_checkpoints=8)
    return train(config, phantoms, tmp_path_factory.mktemp("run"), site=Site(device="cpu")).path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(finished, tmp_path / "run"))


def made_tiles(num: int = 2) -> list[NamedTile]:
    """Return tiles that are dark on the left and bright on the right."""
    image = np.full((56, 56, 3), 230, dtype=np.uint8)
    image[:, :28] = (120, 60, 140)
    noise = np.random.default_rng(0).integers(0, 20, (num, 56, 56, 3), dtype=np.uint8)
    return [NamedTile(image=image + noise[i], slide=f"{i}.svs", mpp=0.5) for i in range(num)]


def test_maps_are_of_the_start_and_of_checkpoints_spread_from_the_first_to_the_last(run: RunFolder):
    maps = token_maps(run, made_tiles())
    assert [one.step for one in maps] == [0, 1, 2, 4, 5, 7, 8]
    for one in maps:
        assert len(one.maps) == 2
        assert one.maps[0].shape == (16, 16, 3)
        assert 0 < one.share <= 1


def test_colours_go_on_from_checkpoint_to_checkpoint_and_tell_dark_from_bright(run: RunFolder):
    maps = token_maps(run, made_tiles())
    columns = [one.maps[0].astype(float).mean(axis=0) for one in maps]
    first = columns[0][:8].mean(axis=0) - columns[0][8:].mean(axis=0)
    assert np.abs(first).max() > 60
    for before, after in pairwise(columns):
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.5


def test_a_run_that_began_elsewhere_has_no_map_of_a_random_start(run: RunFolder):
    text = (run.path / "config.json").read_text()
    (run.path / "config.json").write_text(text.replace('"start": "random"', '"start": "backbone"'))
    assert run.train_config.start == "backbone"
    assert next(one.step for one in token_maps(run, made_tiles())) == 1


def test_a_checkpoint_that_vanishes_or_is_damaged_is_left_out(run: RunFolder, monkeypatch):
    files = teacher_files(run.checkpoints)
    files[3].write_bytes(files[3].read_bytes()[:1000])
    shutil.rmtree(files[0].parent)
    monkeypatch.setattr(patch_maps, "teacher_files", lambda _: files)
    assert [one.step for one in token_maps(run, made_tiles())] == [0, 2, 5, 7, 8]


def test_the_newest_is_looked_at_whatever_the_time_and_none_after_it_is_up(
    run: RunFolder, monkeypatch
):
    monkeypatch.setattr(patch_maps, "MAX_S", 0.0)
    assert [one.step for one in token_maps(run, made_tiles())] == [8]


def test_weights_that_are_no_numbers_have_no_map(run: RunFolder):
    newest = teacher_files(run.checkpoints)[-1]
    weights = load_file(newest)
    weights["backbone.norm.weight"] = weights["backbone.norm.weight"] * float("nan")
    save_file(weights, newest)
    steps = [one.step for one in token_maps(run, made_tiles())]
    assert steps
    assert all(f"step_{step:08d}" != newest.parent.name for step in steps)


def test_tiles_are_from_different_slides_and_magnifications(run: RunFolder, phantoms: list[Path]):
    sampled = sample_stream(run.train_config, run.slides, run.backend, num_samples=60)
    tiles = stream_tiles(sampled, run.backend)
    assert len(tiles) == patch_maps.NUM_TILES
    assert len({tile.slide for tile in tiles}) == len(phantoms)
    assert len({round(tile.mpp, 2) for tile in tiles}) > 1
    sampled_again = sample_stream(run.train_config, run.slides, run.backend, num_samples=60)
    again = stream_tiles(sampled_again, run.backend)
    for one, other in zip(tiles, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_the_runs_bank_is_used_where_it_has_one(run: RunFolder, phantoms: list[Path]):
    bank = draw_bank(run.train_config, phantoms, 10)
    bank.save(run.path / patch_maps.BANK_FILE)
    tiles = bank_tiles(run.path)
    assert len(tiles) == patch_maps.NUM_TILES
    assert {tile.slide for tile in tiles} <= {path.name for path in phantoms}
    for tile in tiles:
        assert any((tile.image == patch).all() for patch in bank.patches)
    section = map_section(run, InputError("no slides"), run.backend, SHOWN)
    assert "".join(section.blocks).count("<img") == 6 * 8


def test_without_tiles_or_checkpoints_the_section_says_so(run: RunFolder, tmp_path: Path):
    alone = map_section(run, InputError("all are on strike"), run.backend, SHOWN)
    assert "its slides cannot be shown: all are on strike." in alone.blocks[0]
    sampled = sample_stream(run.train_config, run.slides, run.backend, num_samples=4)
    shutil.rmtree(run.checkpoints)
    assert "no checkpoint yet" in map_section(run, sampled, run.backend, SHOWN).blocks[0]


def test_a_bank_that_is_damaged_is_done_without(run: RunFolder):
    (run.path / patch_maps.BANK_FILE).write_bytes(b"rubbish")
    assert bank_tiles(run.path) == []

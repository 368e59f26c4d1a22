"""What a report does with the slides of a run: weights, masks, slides that kill, views."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eosin.backends import AutoBackend
from eosin.backends.base import Slide
from eosin.catalog import SlideWeights, list_slides
from eosin.errors import InputError
from eosin.plain import to_plain
from eosin.report import preview, stream
from eosin.report import run as report
from eosin.report.pictures import Tile
from eosin.report.run import write_run_report
from eosin.report.stream import sample_stream, stream_sections
from eosin.tissue.hsv import HSVTissueDetector
from eosin.tissue.mask import TissueMask
from eosin.tissue.store import MaskStore
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.stream import make_pipeline
from train.tiny import tiny_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Path:
    """A run whose slides are weighted by a column of their table; not to be changed."""
    folder = tmp_path_factory.mktemp("weighted")
    table = folder / "slides.csv"
    rows = [f"{path},{'small' if path == phantoms[0] else 'large'}" for path in phantoms]
    table.write_text("\n".join(["path,collection", *rows]))
    config = tiny_config(steps=1)
    weights = SlideWeights(by=("collection", "slide"))
    config = replace(config, data=replace(config.data, weights=weights))
    return train(config, list_slides(table), folder / "run", site=Site(device="cpu")).path


@pytest.fixture
def run_path(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, of whose stream only few samples are drawn for the page."""
    monkeypatch.setattr(report, "sample_stream", partial(sample_stream, num_samples=12))
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often tissue was looked for, by slide."""
    seen: Counter[str] = Counter()
    tissue = HSVTissueDetector.tissue

    def counted(self: HSVTissueDetector, slide: Slide) -> TissueMask:
        seen[slide.info.path] += 1
        return tissue(self, slide)

    monkeypatch.setattr(HSVTissueDetector, "tissue", counted)
    return seen


def test_a_run_that_weighs_slides_by_columns_has_its_pictures_and_its_plan(run_path: Path):
    page = write_run_report(run_path).read_text()
    assert "cannot be" not in page
    assert ">Views of one patch</h2>" in page
    # Of the four samples of the step two are the small collection's, one each of the large one's.
    assert "3 of 3 slides gave 4 samples: 1 to 2 each" in page
    assert "As planned" in page


def test_a_list_of_an_earlier_version_has_no_columns_and_the_page_says_so(run_path: Path):
    listed = run_path / "slides.json"
    listed.write_text(json.dumps([entry["path"] for entry in json.loads(listed.read_text())]))
    page = write_run_report(run_path).read_text()
    assert "its stream cannot be drawn:" in page
    assert page.count("has no column &#x27;collection&#x27;") == 3


def test_slides_that_the_run_leaves_out_are_named_with_the_reason(run_path: Path):
    """Words of the faults: slides left out are named on every page."""
    reason = "HSVTissueDetector finds no tissue on it"
    RunFolder(run_path).write_left_out({"/somewhere/patient 7.svs": reason})
    page = write_run_report(run_path).read_text()
    assert ">Slides left out</h2>" in page
    assert f"<td>patient 7.svs</td><td>{reason}</td>" in page
    assert "somewhere" not in page
    anonymous = write_run_report(run_path, anonymous=True).read_text()
    assert "patient 7" not in anonymous
    assert "slide 1 that is left out" in anonymous


def test_the_masks_of_the_run_are_not_looked_for_again(run_path: Path, looked_at: Counter[str]):
    write_run_report(run_path)
    assert not looked_at


def test_masks_that_were_elsewhere_are_looked_for_once_and_kept(
    run_path: Path, looked_at: Counter[str]
):
    shutil.rmtree(run_path / "masks")
    write_run_report(run_path)
    once = dict.fromkeys(looked_at, 1)
    assert len(once) >= 2
    assert looked_at == once
    write_run_report(run_path)
    assert looked_at == once


def test_a_preview_takes_the_masks_of_a_scan(
    run_path: Path, looked_at: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preview, "sample_stream", partial(sample_stream, num_samples=12))
    run = RunFolder(run_path)
    page, masks = run_path / "preview.html", MaskStore(run.masks)
    write_preview = partial(preview.write_preview, page, run.train_config, run.entries, run.backend)
    write_preview(title="tiny", mask_store=masks)
    assert not looked_at
    write_preview(title="tiny")
    assert looked_at


def test_a_slide_that_killed_a_process_of_the_run_is_not_read_again(
    run_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    bad = str(phantoms[0])
    dies = (
        "import os, sys; from pathlib import Path; from eosin.backends.crash import CrashLog\n"
        "with CrashLog(Path(sys.argv[1])).reading(sys.argv[2]): os.abort()"
    )
    command = [sys.executable, "-c", dies, str(RunFolder(run_path).crash_log.folder), bad]
    assert subprocess.run(command, capture_output=True, check=False).returncode < 0
    opened: list[str] = []
    open_slide = AutoBackend.open

    def noted(self: AutoBackend, path: Path | str) -> Slide:
        opened.append(str(path))
        return open_slide(self, path)

    monkeypatch.setattr(AutoBackend, "open", noted)
    assert "a process died reading it" in write_run_report(run_path).read_text()
    assert opened
    assert bad not in opened


def test_the_views_that_are_shown_are_those_that_are_trained_on(
    phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    drawn: list[Tile] = []
    sheet = stream.contact_sheet

    def noted(tiles: list[Tile], **options: int) -> object:
        drawn[:] = tiles
        return sheet(tiles, **options)

    monkeypatch.setattr(stream, "contact_sheet", noted)
    config = tiny_config()
    stream_sections(sample_stream(config, phantoms, AutoBackend(), num_samples=2), AutoBackend())
    patch, *shown = drawn
    trained_on = make_pipeline(config, phantoms).read(0).views or {}
    assert patch.image.shape == (256, 256, 3)
    assert len(shown) == len(trained_on) == 4
    for tile, view in zip(shown, trained_on.values(), strict=True):
        np.testing.assert_array_equal(tile.image, view)


def test_a_run_that_has_not_begun_has_no_report_and_says_what_to_do(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    with run.locked(), pytest.raises(InputError, match=r"no config\.json yet; wait, or start it"):
        write_run_report(run.path)
    run.claim(to_plain(tiny_config()))
    with pytest.raises(InputError, match=r"has not begun: it has no slides\.json yet; wait, or"):
        write_run_report(run.path)

"""Section F of the faults: what is passed on names slides by their content when it is asked to."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from eosin.backends import AutoBackend, MppPolicy
from eosin.catalog import SlideEntry, SlideNames, anonymous_slides, list_slides, slide_key
from eosin.catalog.weights import SlideWeights
from eosin.errors import SlideError, SlideOpenError
from eosin.geometry import Mpp
from test_cli import SMALL, run

SURNAMES = ("Lindqvist", "Okonkwo", "Petrovic", "Yamamoto")
"""Of invented patients, in the file names of slides."""


@pytest.fixture
def named(phantoms: list[Path], tmp_path: Path) -> Path:
    """A table of slides of which names, folder and columns tell who they are of."""
    folder = tmp_path / "Ward-Semmelweis"
    folder.mkdir()
    rows = ["path,patient,surgeon"]
    for surname, phantom in zip(SURNAMES, phantoms, strict=False):
        shutil.copy(phantom, folder / f"{surname}_19470312.tif")
        rows.append(f"{folder / surname}_19470312.tif,MRN-{surname},Dr. Billroth")
    (folder / "slides.csv").write_text("\n".join(rows) + "\n")
    return folder / "slides.csv"


def names_in(paths: Iterable[Path]) -> set[str]:
    """Return what of the names stands in files or file names, as UTF-8, UTF-16 or UTF-32."""
    words = (*SURNAMES, "19470312", "Semmelweis", "MRN-", "Billroth")
    found = set()
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        for word in words:
            coded = [word.encode(code) for code in ("utf-8", "utf-16-le", "utf-32-le")]
            if word in path.name or any(code in content for code in coded):
                found.add(word)
    return found


def test_a_run_and_what_leaves_it_hold_no_name(capsys, named: Path, tmp_path: Path):
    out = tmp_path / "run"
    words = ("--out-dir", out, *SMALL, "--manifest", "--anonymous")
    assert run(capsys, "train", "nano_cpu", named, *words)[0] == 0
    log = [out / "bank.npz", *(out / "manifest").iterdir()]
    assert names_in(log) == set()
    slides = set(pq.read_table(out / "manifest")["slide"].to_pylist())
    fingerprints = set(pq.read_table(out / "manifest")["fingerprint"].to_pylist())
    assert slides == {slide_key(one) for one in fingerprints}
    # The search finds names where they are, also in what NumPy writes.
    assert names_in([out / "slides.json"]) >= {"Okonkwo", "MRN-", "Semmelweis"}

    assert run(capsys, "report", out, "--anonymous")[0] == 0
    assert names_in([out / "report.html"]) == set()
    page = (out / "report.html").read_text()
    assert all(slide in page for slide in slides)
    assert run(capsys, "report", out)[0] == 0
    assert names_in([out / "report.html"]) >= set(SURNAMES[:3])

    assert run(capsys, "export", out, "-o", tmp_path / "model")[0] == 0
    assert names_in((tmp_path / "model").iterdir()) == set()
    assert run(capsys, "manifest", "verify", out / "manifest", named)[0] == 0


def test_a_run_that_was_not_anonymous_has_an_anonymous_report(capsys, named: Path, tmp_path: Path):
    out = tmp_path / "run"
    words = ("--out-dir", out, *SMALL, "--manifest")
    assert run(capsys, "train", "nano_cpu", named, *words)[0] == 0
    gone = named.parent / f"{SURNAMES[0]}_19470312.tif"
    (out / "quarantine.json").write_text(f'{{"{gone}": "{gone} is out of focus"}}')
    assert run(capsys, "report", out, "--anonymous")[0] == 0
    assert names_in([out / "report.html"]) == set()
    assert "is out of focus" in (out / "report.html").read_text()
    shutil.rmtree(named.parent)
    assert run(capsys, "report", out, "--anonymous")[0] == 0
    assert names_in([out / "report.html"]) == set()
    assert "none of the" in (out / "report.html").read_text()


def test_a_preview_and_features_hold_no_name(capsys, named: Path, tmp_path: Path):
    out, features = tmp_path / "page.html", tmp_path / "features"
    assert run(capsys, "preview", "nano_cpu", named, "-o", out, "--anonymous")[0] == 0
    assert names_in([out]) == set()
    run_dir = tmp_path / "run"
    assert run(capsys, "train", "nano_cpu", named, "--out-dir", run_dir, *SMALL)[0] == 0
    words = ("--mpp", "1", "--patch-size", "64", "--tissue-threshold", "0.2", "-o", features)
    assert run(capsys, "embed", run_dir, named, *words, "--anonymous")[0] == 0
    files = sorted(features.glob("*.h5"))
    assert len(files) == 3
    assert names_in(features.rglob("*")) == set()
    for path in files:
        with h5py.File(path) as file:
            assert (
                path.stem == file.attrs["slide_path"] == slide_key(file.attrs["slide_fingerprint"])
            )
    before = [path.stat().st_mtime_ns for path in files]
    assert run(capsys, "embed", run_dir, named, *words, "--anonymous")[0] == 0
    assert [path.stat().st_mtime_ns for path in files] == before, "resumed, not made again"


def test_features_name_the_slide_without_its_folder(capsys, named: Path, tmp_path: Path):
    run_dir, features = tmp_path / "run", tmp_path / "features"
    assert run(capsys, "train", "nano_cpu", named, "--out-dir", run_dir, *SMALL)[0] == 0
    words = ("--mpp", "1", "--patch-size", "64", "--tissue-threshold", "0.2", "-o", features)
    assert run(capsys, "embed", run_dir, named, *words)[0] == 0
    assert names_in(features.rglob("*")) == {"19470312", *SURNAMES[:3]}


def test_anonymous_slides_have_the_same_pixels_weights_and_overrides(named: Path):
    entries = list_slides(named)
    policy = MppPolicy(overrides={entries[0].path: 0.4})
    hidden, backend = anonymous_slides(entries, AutoBackend(mpp=policy))
    weights = SlideWeights(by=("surgeon", "patient"))
    assert np.array_equal(weights.weights(entries), weights.weights(hidden))
    for entry, hidden_entry in zip(entries, hidden, strict=True):
        with AutoBackend(mpp=policy).open(entry.path) as a, backend.open(hidden_entry.path) as b:
            assert b.info.path == hidden_entry.path == slide_key(a.info.fingerprint)
            assert (a.info.mpp, a.info.levels) == (b.info.mpp, b.info.levels)
            assert np.array_equal(
                a.read_region(64, 32, 0, 99, 77), b.read_region(64, 32, 0, 99, 77)
            )
            assert np.array_equal(a.thumbnail(100), b.thumbnail(100))
    with backend.open(hidden[0].path) as first:
        assert first.info.mpp == Mpp(0.4, 0.4)


def test_copies_and_unreadable_slides_have_keys_of_their_own(phantoms: list[Path], tmp_path: Path):
    paths = [phantoms[0], tmp_path / "copy.tif", tmp_path / "Okonkwo.svs", tmp_path / "text.svs"]
    shutil.copy(phantoms[0], paths[1])
    paths[3].write_text("no slide")
    entries = [SlideEntry(path=str(path)) for path in paths]
    hidden, backend = anonymous_slides(entries, AutoBackend())
    keys = [entry.path for entry in hidden]
    assert keys[1] == f"{keys[0]}-copy2"
    assert keys[2] == "slide-unreadable-3"
    assert len({entry.owner for entry in hidden}) == 4
    for key in keys[2:]:
        with pytest.raises(SlideError) as caught:
            backend.open(key)
        assert "Okonkwo" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(SlideOpenError, match="not among the slides"):
        backend.open("slide-0123456789abcdef")


def test_slides_of_one_owner_by_their_file_name_stay_together():
    entries = [SlideEntry(path=f"{folder}/Okonkwo.svs") for folder in "ab"]
    hidden, _ = anonymous_slides(entries, AutoBackend())
    assert len({entry.owner for entry in hidden}) == 1
    shown = SlideNames(entries, anonymous=True)
    assert shown("a/Okonkwo.svs") == "slide-unreadable-1"
    assert shown("Okonkwo.svs") == "one of several slides"
    assert shown("elsewhere/Petrovic.svs") == "a slide that is not listed"
    assert shown("slide-0123456789abcdef") == "slide-0123456789abcdef"

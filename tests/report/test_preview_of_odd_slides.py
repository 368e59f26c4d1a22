"""What a preview says of slides that are left out, turned away or odd."""

import re
from pathlib import Path

import numpy as np
import pytest

from eosin.report import preview
from eosin.report.stream import sample_stream
from made_slides import VIOLET, smooth_tissue, write_slide
from test_cli import run

SIZE = 1200
FEW = ("--data.sampler.target-mpps", "0.5", "--data.sampler.patch-size", "128")


def of_colours(glass: tuple[int, ...], tissue: tuple[int, ...]) -> np.ndarray:
    image = smooth_tissue(SIZE, SIZE)
    is_glass = (image == 255).all(axis=2)
    coloured = image.astype(np.int16) + np.subtract(tissue, VIOLET)
    coloured[is_glass] = glass
    return np.clip(coloured, 0, 255).astype(np.uint8)


def write(
    path: Path, glass: tuple[int, ...] = (255, 255, 255), tissue: tuple[int, ...] = VIOLET
) -> Path:
    return write_slide(path, of_colours(glass, tissue), mpp=0.5, compression="jpeg")


BROWN = (150, 110, 70)


@pytest.fixture
def slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def few(*args, **settings):
        return sample_stream(*args, **settings, num_samples=24)

    monkeypatch.setattr(preview, "sample_stream", few)
    folder = tmp_path / "slides"
    folder.mkdir()
    return folder


def words_of(tables: str) -> str:
    return " ".join(tables.replace("│", " ").split())


def previewed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    page = Path(str(words[-1]))
    code, _, err = run(capsys, "preview", "midnight12k", *words[:-1], "-o", page, *FEW)
    return code, re.sub(r"<[^>]+>", " ", page.read_text().split("<body>")[1]), err


def test_a_preview_says_how_many_of_how_many_slides_it_draws(
    capsys: pytest.CaptureFixture[str], slides: Path, tmp_path: Path
):
    """Words of the faults: it drew 6 of 9 and did not say so."""
    for number in range(8):
        write(slides / f"{number}.svs", tissue=(150, 90, 180 - number))
    code, page, _ = previewed(capsys, slides, tmp_path / "p.html")
    assert code == 0
    assert "6 of 8 slides are drawn (those that gave most patches)" in page


def test_slides_left_out_are_named_with_the_setting_that_turned_them_away(
    capsys: pytest.CaptureFixture[str], slides: Path, tmp_path: Path
):
    """Words of the faults: of brown slides under an H&E detector, no page said anything."""
    write(slides / "good.svs")
    write(slides / "brown.svs", tissue=BROWN)
    (slides / "copy.svs").write_bytes((slides / "good.svs").read_bytes())
    write(slides / "other.svs", tissue=(150, 90, 170))
    index = tmp_path / "index.parquet"
    code, out, _ = run(capsys, "scan", slides, "-o", index, "--candidates=1")
    assert code == 0
    assert "--tissue-detector faint" in words_of(out)
    where = ("--where", "name != 'other.svs'")
    code, page, _ = previewed(capsys, index, *where, tmp_path / "p.html")
    assert code == 0
    assert "What a model would see of 1 slides; 3 others are left out." in page
    left_out = page.split("Slides left out")[-1]
    # The rim of brown tissue is a little violet, from compression.
    assert re.search("no window of .* tissue; HSVTissueDetector finds hardly any tissue", left_out)
    assert "brown.svs" in left_out
    assert "is a copy of " in left_out
    assert "--where name !=" in left_out
    code, page, _ = previewed(capsys, index, *where, "--anonymous", tmp_path / "q.html")
    assert "3 others are left out" in page
    assert "brown" not in page


def test_tinted_glass_is_said_by_scan_and_preview_and_the_alternative_is_at_hand(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    slides: Path,
    tmp_path: Path,
):
    """Row 13 of the faults: everything was accepted, glass too, and nothing said so."""
    write(slides / "tinted.svs", glass=(226, 229, 236))
    index = tmp_path / "index.parquet"
    code, out, _ = run(capsys, "scan", slides, "-o", index, "--candidates=1")
    words = words_of(out)
    assert "HSVTissueDetector takes nearly all of it for tissue" in words
    assert "tinted.svs" in words
    for given in (slides, index):
        caplog.clear()
        code, page, _ = previewed(capsys, given, tmp_path / "p.html")
        assert code == 0
        assert page.count("takes nearly all of it for tissue") == 2
        assert "takes nearly all of it for tissue" in caplog.text
        assert "100% tissue" in page
    index = tmp_path / "faint.parquet"
    code, out, _ = run(
        capsys, "scan", slides, "-o", index, "--candidates=1", "--tissue-detector", "faint"
    )
    assert "look at these" not in out
    flag = ("--tissue-detector", "faint")
    caplog.clear()
    code, page, _ = previewed(capsys, index, *flag, tmp_path / "p.html")
    assert (code, caplog.text) == (0, "")
    assert re.search(r" [56]\d% tissue", page)
    code, _, _ = previewed(capsys, index, tmp_path / "p.html")
    assert "holds no mask by HSVTissueDetector" in caplog.text
    assert "give it here as well" in caplog.text


def test_a_preview_of_slides_that_give_nothing_shows_them_and_names_the_filter(
    capsys: pytest.CaptureFixture[str], slides: Path, tmp_path: Path
):
    """Words of the faults: brown tissue under an H&E filter ended without a page."""
    write(slides / "brown.svs", tissue=BROWN)
    flag = ("--tissue-detector", "faint")
    code, page, err = previewed(capsys, slides, *flag, tmp_path / "p.html")
    assert code == 1
    assert "p.html shows them" in err
    assert "--patch-filter all" in err
    assert "1 of 1 slides are drawn" in page
    assert "by HSVPatchFilter" in page
    assert re.search(r"0 of \d+ patches that were tried pass HSVPatchFilter\(hue_range=", page)
    code, page, err = previewed(capsys, slides, *flag, "--patch-filter", "all", tmp_path / "q.html")
    assert (code, err) == (0, "")
    assert "Views of one patch" in page


def test_a_scan_says_which_filter_turns_all_patches_away(
    capsys: pytest.CaptureFixture[str], slides: Path, tmp_path: Path
):
    """Words of the faults: acceptance 0 came without the setting that made it so."""
    write(slides / "brown.svs", tissue=BROWN)
    scan = [
        "scan",
        slides,
        "-o",
        tmp_path / "i.parquet",
        "--candidates=2",
        "--tissue-detector=faint",
    ]
    code, out, _ = run(capsys, *scan)
    words = words_of(out)
    assert code == 0
    assert "May give nothing" in words
    assert "0 of 6 patches that were tried pass HSVPatchFilter(" in words
    assert "--patch-filter all" in words
    code, out, _ = run(capsys, *scan, "--patch-filter=all")
    assert "May give nothing" not in out


def test_a_detector_that_replaces_another_is_not_changed_as_well(
    capsys: pytest.CaptureFixture[str], slides: Path, tmp_path: Path
):
    write(slides / "a.svs")
    code, _, err = run(
        capsys, "preview", "midnight12k", slides, "-o", tmp_path / "p.html",
        "--tissue-detector", "faint", "--data.tissue-detector.sat-range", "12", "255",
    )  # fmt: skip
    assert code == 2
    assert "leave one of them out" in err

"""Row 25 of the faults: a table's scale is taken, or refused by row and value."""

import logging
from pathlib import Path

import pytest

from eosin.catalog import list_slides, mpp_overrides
from eosin.errors import InputError


def write(folder: Path, header: str, *rows: str) -> Path:
    names = [f"{letter}.svs" for letter in "abcdef"[: len(rows)]]
    for name in names:
        (folder / name).write_text("slide")
    lines = [f"path,{header}", *(f"{name},{row}" for name, row in zip(names, rows, strict=True))]
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    return folder / "slides.csv"


def overrides(table: Path) -> dict[str, float]:
    return {Path(path).name: mpp for path, mpp in mpp_overrides(list_slides(table)).items()}


@pytest.mark.parametrize(
    "bad", ["n/a", "unknown", "NaN", '"0,25"', "0.25 um", "true", "-0.25", "0", "896", "40x"]
)
@pytest.mark.parametrize("column", ["mpp", "MPP", "spacing", "mpp_override"])
def test_one_bad_cell_is_refused_by_its_row_and_value(tmp_path: Path, column: str, bad: str):
    """One such cell made text of the column, and every override was dropped without a word."""
    table = write(tmp_path, column, "0.25", bad, "0.5")
    shown = bad.strip('"')
    with pytest.raises(InputError, match=rf"slides\.csv, row 2: {column}='?{shown}"):
        list_slides(table)


@pytest.mark.parametrize("column", ["mpp", "MPP", "Spacing", "um_per_px", "microns_per_pixel"])
def test_columns_that_people_use_are_taken_and_empty_fields_say_nothing(
    tmp_path: Path, column: str
):
    assert overrides(write(tmp_path, column, "0.25", "", "1")) == {"a.svs": 0.25, "c.svs": 1.0}


def test_two_columns_that_differ_are_refused_and_an_override_goes_before(tmp_path: Path):
    with pytest.raises(InputError, match=r"row 2: mpp=0.25, spacing=0.5 say different"):
        list_slides(write(tmp_path, "mpp,spacing", "0.25,0.25", "0.25,0.5"))
    table = write(tmp_path, "mpp,mpp_override", "0.25,0.5", "0.25,")
    assert overrides(table) == {"a.svs": 0.5, "b.svs": 0.25}


@pytest.mark.parametrize(
    "column", ["mpp_x", "resolution", "pixel_size", "Magnification", "mpp_level0", "slide mpp"]
)
def test_a_column_of_uncertain_meaning_is_named(
    tmp_path: Path, column: str, caplog: pytest.LogCaptureFixture
):
    """Found beside it: columns that were ignored although they look like a scale."""
    caplog.set_level(logging.WARNING)
    assert overrides(write(tmp_path, column, "0.25", "0.5")) == {}
    assert f"column '{column}' is not used" in caplog.text
    assert "call it mpp" in caplog.text


def test_a_parquet_table_is_held_to_the_same(tmp_path: Path):
    """Found beside it: a column of text in Parquet."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    (tmp_path / "a.svs").write_text("slide")
    parquet.write_table(pa.table({"path": ["a.svs"], "mpp": ["0.25"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet, row 1: mpp='0\.25' is no number"):
        list_slides(tmp_path / "t.parquet")

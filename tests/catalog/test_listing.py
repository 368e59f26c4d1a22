import logging

import pyarrow as pa
import pytest
from pyarrow import parquet

from catalog.tables import touch, write_csv, write_parquet
from eosin.catalog import list_slides, mpp_overrides
from eosin.errors import ConfigError, InputError

DX = "TCGA-02-0001-01Z-00-DX1.83fce43e-42ac-4dcd-b156-2908e75f2e47.svs"
TS = "TCGA-02-0001-01A-01-TS1.svs"


def names(entries):
    return [entry.name for entry in entries]


def test_a_folder_gives_its_slides_with_what_their_names_say(tmp_path):
    touch(tmp_path, DX, TS, "other.svs")
    entries = list_slides(tmp_path)
    assert names(entries) == [TS, DX, "other.svs"]
    assert [entry.metadata.get("section") for entry in entries] == ["TS", "DX", None]
    assert entries[2].metadata == {}
    assert entries[0].fingerprint is None


def test_a_condition_selects_slides_of_a_folder(tmp_path):
    touch(tmp_path, DX, TS, "other.svs")
    assert names(list_slides(tmp_path, "section == 'DX'")) == [DX]
    assert names(list_slides(str(tmp_path), "section is missing")) == ["other.svs"]


def test_a_condition_that_holds_for_no_slide_is_an_error(tmp_path):
    touch(tmp_path, "a.svs")
    with pytest.raises(InputError, match=r"section == 'DX'.*holds for none of 1 slides"):
        list_slides(tmp_path, "section == 'DX'")


def test_a_table_gives_its_rows_in_order_with_typed_columns(tmp_path):
    touch(tmp_path, "sub/b.svs", TS)
    table = write_csv(
        tmp_path / "slides.csv",
        "path,organ,age,code,is_test,empty",
        'sub/b.svs,"lung, left",61,007,true,',
        f"{tmp_path / TS},skin,,12,False,",
    )
    first, second = list_slides(table)
    assert first.path == str(tmp_path / "sub/b.svs")
    assert first.metadata == {
        "organ": "lung, left",
        "age": 61.0,
        "code": "007",
        "is_test": True,
        "empty": None,
    }
    assert second.metadata["age"] is None
    assert second.metadata["code"] == "12"
    assert second.metadata["is_test"] is False
    assert second.metadata["patient"] == "TCGA-02-0001"


def test_columns_of_a_table_go_before_the_file_name_where_they_are_filled(tmp_path):
    touch(tmp_path, TS, DX)
    table = write_csv(tmp_path / "t.csv", "path,patient", f"{TS},mine", f"{DX},")
    assert [entry.metadata["patient"] for entry in list_slides(table)] == ["mine", "TCGA-02-0001"]


def test_a_parquet_table_of_the_users_is_as_good_as_csv(tmp_path):
    touch(tmp_path, "a.svs", "b.svs")
    table = write_parquet(
        tmp_path / "t.parquet",
        path=["a.svs", "b.svs"],
        age=[3, None],
        mpp=[0.25, float("nan")],
        is_test=[True, None],
    )
    first, second = list_slides(table)
    assert first.metadata == {"age": 3.0, "mpp": 0.25, "is_test": True}
    assert second.metadata == {"age": None, "mpp": None, "is_test": None}


def test_a_table_of_lists_is_refused_by_column(tmp_path):
    table = write_parquet(tmp_path / "t.parquet", path=["a.svs"], boxes=[[1, 2]])
    with pytest.raises(InputError, match="column 'boxes' holds list"):
        list_slides(table)


def test_folders_files_and_tables_go_together_and_a_file_is_listed_once(tmp_path, caplog):
    one, two = touch(tmp_path, "in/a.svs", "b.svs")
    (tmp_path / "link.svs").symlink_to(one)
    table = write_csv(tmp_path / "t.csv", "path", "b.svs", "link.svs")
    with caplog.at_level(logging.WARNING):
        entries = list_slides([tmp_path / "in", two, table])
    assert names(entries) == ["a.svs", "b.svs"]
    assert "2 paths name a file that is listed already" in caplog.text


def test_a_path_of_another_readers_own_is_passed_on(tmp_path):
    table = write_csv(tmp_path / "t.csv", "path", "cloud://bucket/a.svs")
    assert [entry.path for entry in list_slides(table)] == ["cloud://bucket/a.svs"]
    assert [entry.path for entry in list_slides("cloud://x.csv")] == ["cloud://x.csv"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Path,organ", "a.svs,x"], r"no column 'path'; did you mean 'Path'\? There are"),
        (["slide,organ", "a.svs,x"], "no column 'path'; there are 'organ', 'slide'"),
        (["path", "a.svs", "a.svs"], r"a\.svs in more than one row"),
        (["path", "a.svs", "gone.svs"], r"1 files that do not exist: .*gone\.svs"),
        (["path"], "has no rows"),
        (["path,organ", ",x"], "row 1 has None for a path"),
        (["path,organ,organ", "a.svs,x,y"], "the columns 'organ' twice"),
        (["path,organ", "a.svs"], "row 2 has 1 fields and the header 2"),
    ],
)
def test_faults_of_a_table_are_named(tmp_path, lines, message):
    touch(tmp_path, "a.svs")
    with pytest.raises(InputError, match=message):
        list_slides(write_csv(tmp_path / "t.csv", *lines))


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        list_slides(tmp_path / "gone.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="empty; it needs a line of column names"):
        list_slides(tmp_path / "empty.csv")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list_slides(tmp_path / "text.parquet")
    with pytest.raises(InputError, match="an empty list has no slides"):
        list_slides([])


def test_a_condition_on_a_column_that_is_not_there_names_the_close_ones(tmp_path):
    touch(tmp_path, "a.svs")
    table = write_csv(tmp_path / "t.csv", "path,organ", "a.svs,lung")
    with pytest.raises(ConfigError, match="names 'organs', which is no column; did you mean 'org"):
        list_slides(table, "organs == 'lung'")


def test_an_index_gives_fingerprints_and_leaves_out_problems_and_copies(tmp_path, caplog):
    index = write_parquet(
        tmp_path / "index.parquet",
        is_index=True,
        path=["a.svs", "b.svs", "c.svs"],
        name=["a.svs", "b.svs", "c.svs"],
        fingerprint=["f0", None, "f0"],
        problem=[None, "is no slide", None],
        duplicate_of=[None, None, "a.svs"],
        organ=["lung", "skin", "lung"],
    )
    with caplog.at_level(logging.WARNING):
        (only,) = list_slides(index)
    assert (only.path, only.fingerprint) == (str(tmp_path / "a.svs"), "f0")
    assert only.metadata["organ"] == "lung"
    assert "1 of 3 slides have a problem and are left out, such as b.svs (is no slide)" in (
        caplog.text
    )
    assert "1 slides are copies" in caplog.text


def test_an_index_of_nothing_but_problems_is_refused(tmp_path):
    index = write_parquet(
        tmp_path / "i.parquet", is_index=True, path=["a.svs"], problem=["is no slide"]
    )
    with pytest.raises(InputError, match="no slide without a problem"):
        list_slides(index)


def test_an_index_of_ten_thousand_slides_is_listed_without_a_look_at_the_disk(
    tmp_path, monkeypatch
):
    num = 10_000
    text = {f"text_{i}": [f"{i} {n}" for n in range(num)] for i in range(15)}
    numbers = {f"number_{i}": [float(n) for n in range(num)] for i in range(15)}
    paths = [f"deep/down/slide_{n}.svs" for n in range(num)]
    index = write_parquet(tmp_path / "i.parquet", is_index=True, path=paths, **text, **numbers)
    looked_at: list[str] = []
    monkeypatch.setattr("os.path.realpath", lambda path, **_: looked_at.append(path) or path)
    assert len(list_slides(index)) == num
    assert len(looked_at) < 10


def test_microns_per_pixel_of_a_table_override_what_files_say(tmp_path):
    touch(tmp_path, "a.svs", "b.svs", "c.svs")
    table = write_csv(
        tmp_path / "t.csv", "path,mpp,mpp_override,mpp_x", "a.svs,0.5,0.25,1", "b.svs,0.5,,1",
        "c.svs,,,1",
    )  # fmt: skip
    assert mpp_overrides(list_slides(table)) == {
        str(tmp_path / "a.svs"): 0.25,
        str(tmp_path / "b.svs"): 0.5,
    }


def test_identifiers_too_long_for_a_number_are_told_apart(tmp_path):
    ids = ["90071992547409931", "90071992547409932"]
    for name in "ab":
        (tmp_path / f"{name}.svs").touch()
    (tmp_path / "t.csv").write_text(f"path,patient\na.svs,{ids[0]}\nb.svs,{ids[1]}\n")
    assert [entry.owner for entry in list_slides(tmp_path / "t.csv")] == ids
    rows = {"path": ["a.svs", "b.svs"], "patient": [int(n) for n in ids], "n": [1, None]}
    parquet.write_table(pa.table(rows), tmp_path / "t.parquet")
    entries = list_slides(tmp_path / "t.parquet")
    assert [entry.owner for entry in entries] == ids
    assert [entry.metadata["n"] for entry in entries] == [1.0, None]


def test_faults_of_a_csv_file_are_named_with_their_place(tmp_path):
    touch(tmp_path, "a.svs")
    for lines, says in (
        (("path,n", "", "a.svs,1,2"), "row 3 has 3 fields"),
        (("path,,", "a.svs,,"), "has the columns '' twice"),
    ):
        with pytest.raises(InputError, match=says):
            list_slides(write_csv(tmp_path / "t.csv", *lines))

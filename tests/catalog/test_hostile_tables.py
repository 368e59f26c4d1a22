"""Tables and conditions as they come from spreadsheets, by accident and from hostile hands."""

import io
import logging

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from catalog.tables import entry, touch, write_csv, write_parquet
from eosin.catalog import list_slides
from eosin.catalog.where import select
from eosin.errors import ConfigError, EosinError, InputError

ENTRIES = [entry("a.svs", n=1.0, organ="lung"), entry("b.svs", n=None, organ=None)]
COLUMNS = {"n", "organ"}


def one_line(error: BaseException) -> bool:
    return len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("n == " + "9" * 400, "is larger than any number"),
        ("n == -" + "9" * 400, "is larger than any number"),
        ("n in (1, " + "9" * 400 + ")", "is larger than any number"),
        ("n == " + "9" * 5000, "cannot be understood"),
        ("not " * 400 + "n == 1", "nested too deeply"),
        ("not " * 20_000 + "n == 1", r"nested too deeply|cannot be understood"),
        ("(" * 1000 + "n == 1" + ")" * 1000, r"nested too deeply|cannot be understood"),
        ("n == 1 or (" * 300 + "n == 2" + ")" * 300, r"nested too deeply|cannot be understood"),
        ("-" * 10_000 + "1 == n", "too deeply|understood|neither"),
        ("organ == '\ud800'", "cannot be understood"),
        ("organ == 'a\0b'", "cannot be understood"),
        ("n" + " == n" * 3000 + " == 'x'", "compares|too deeply"),
    ],
    ids=range(12),
)
def test_a_condition_that_is_too_much_is_refused_in_one_line(where, says):
    """Rows 23 and 33 of the faults: 400 digits, deep `not not`, 1,000 parentheses."""
    with pytest.raises(ConfigError, match=says) as caught:
        select(ENTRIES, where, COLUMNS)
    assert one_line(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_long_condition_that_is_not_deep_is_fine():
    where = " or ".join(f"n == {number}" for number in range(2000))
    assert select(ENTRIES, where, COLUMNS) == (ENTRIES[0],)


WORDS = st.sampled_from(
    ["n", "organ", "path", "held_out", "missing", "(", ")", "[", "]", "{", "}", ",", ":", "not",
     "and", "or", "in", "is", "==", "!=", "<", ">=", ":=", "-", "~", "*", ".", "@", "lambda", "if",
     "else", "for", "await", "yield", "'x'", "b'x'", "f'{n}'", "1", "1.5", "1e999", "1j", "0xff",
     "9" * 400, "True", "None", "...", "\n", "\\", "#", ";", "'", "\0", "\ud800", "\u0661"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=10).map(" ".join))
@example("1in (1, 2)")
@example(r"organ == '\d'")
def test_any_condition_selects_or_is_refused(where):
    """Row 23 of the faults, as a property."""
    try:
        select(ENTRIES, where, COLUMNS)
    except EosinError as error:
        assert one_line(error)


def test_a_path_that_is_too_long_or_holds_a_zero_byte_is_refused(tmp_path):
    """Row 33 of the faults: a table's path too long for a file name."""
    for path in ("x" * 300 + ".svs", "y/" * 3000, "a\0b.svs"):
        table = write_csv(tmp_path / "t.csv", "path", path)
        with pytest.raises(InputError, match=r"1 files that do not exist|zero bytes") as caught:
            list_slides(table)
        assert one_line(caught.value)
    for given_path in ("x" * 300 + ".svs", "x" * 300 + ".csv", "a\0b.svs", "a\0.parquet", "\ud800"):
        with pytest.raises(InputError, match="does not exist"):
            list_slides(given_path)


def test_numbers_of_thousands_of_digits_are_text(tmp_path):
    """Row 33 of the faults: a number of 4,300 digits."""
    touch(tmp_path, "a.svs")
    long = "9" * 5000
    (only,) = list_slides(write_csv(tmp_path / "t.csv", "path,id,share", f"a.svs,{long},0.{long}"))
    assert only.metadata["id"] == long
    assert only.metadata["share"] == 1.0


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_table_with_another_separator_is_read(tmp_path, separator):
    """Row 33 of the faults: spreadsheets of many countries separate by semicolons."""
    touch(tmp_path, "a, b.svs")
    lines = ("path,organ,n", "a, b.svs,skin,2")
    text = [line.replace(",", separator).replace(f"a{separator} b", "a, b") for line in lines]
    (only,) = list_slides(write_csv(tmp_path / "t.csv", *text))
    assert (only.name, only.metadata["organ"], only.metadata["n"]) == ("a, b.svs", "skin", 2.0)
    with pytest.raises(InputError, match="row 2 has 1 fields and the header 3, separated by"):
        list_slides(write_csv(tmp_path / "t.csv", text[0], "a.svs"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_a_table_in_another_encoding_is_read_or_refused(tmp_path, encoding):
    touch(tmp_path, "a.svs")
    text = "path,organ\r\na.svs,Säure\r\n\r\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    if encoding in ("utf-8-sig", "utf-16"):
        assert list_slides(tmp_path / "t.csv")[0].metadata["organ"] == "Säure"
        return
    with pytest.raises(InputError, match=r"not UTF-8|zero bytes") as caught:
        list_slides(tmp_path / "t.csv")
    assert one_line(caught.value)


def test_column_names_that_are_not_utf8_are_refused(tmp_path):
    """Row 17 of the faults: they would end a scan as it writes the index."""
    touch(tmp_path, "a.svs")
    (tmp_path / "t.csv").write_bytes("path,Größe\na.svs,3\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"column names path, Gr\\xF6\\xDFe are not UTF-8"):
        list_slides(tmp_path / "t.csv")


def test_quoted_fields_may_hold_lines_and_separators(tmp_path):
    touch(tmp_path, "a.svs")
    table = write_csv(tmp_path / "t.csv", "", "path,note", 'a.svs,"one,', 'two"', " , ")
    assert list_slides(table)[0].metadata["note"] == "one,\ntwo"


@pytest.mark.parametrize("text", ["", "\n\n", " , \n", "\ufeff", "path\n", "path,organ\n,\n", '"'])
def test_a_table_without_rows_is_refused(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=r"is empty|has no rows|cannot be read as CSV"):
        list_slides(tmp_path / "t.csv")


CSV = 'path,mpp,organ\na.svs,0.25,x\nb.svs,,"y,\nz"\n'
PIECES = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b",", b";", b'"', b"\n", b"\r", b"\0", b"a.svs", b"path", b"0,25", b"nan",
                     b"1e999", b"9" * 5000, b"x" * 300, b"\xff\xfe", b"\xef\xbb\xbf", b"\\xFC"]),
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(CSV)), st.integers(0, 8), PIECES), max_size=5))
def test_any_table_is_read_or_refused(tmp_path_factory, changes):
    """Row 33 of the faults, as a property."""
    folder = tmp_path_factory.getbasetemp() / "tables"
    touch(folder, "a.svs", "b.svs")
    content = CSV.encode()
    for at, length, piece in changes:
        content = content[:at] + piece + content[at + length :]
    (folder / "t.csv").write_bytes(content)
    try:
        list_slides(folder / "t.csv")
    except EosinError as error:
        assert one_line(error)


def parquet_bytes(*, is_index: bool) -> bytes:
    stream = io.BytesIO()
    columns = {"path": ["a.svs", "b.svs"], "mpp": [0.25, None], "organ": ["x", "y"]}
    marks = {b"eosin_index": b"2", b"eosin_escapes": b"1"} if is_index else {}
    parquet.write_table(pa.table(columns).replace_schema_metadata(marks), stream)
    return stream.getvalue()


@given(
    is_index=st.booleans(),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    share=st.sampled_from([1.0, 1.0, 1.0, 0.99, 0.5, 0.0]),
)
def test_a_damaged_parquet_file_is_read_or_refused(tmp_path_factory, is_index, changes, share):
    """Row 33 of the faults: Parquet with damaged names, as a property."""
    folder = tmp_path_factory.getbasetemp() / "tables"
    touch(folder, "a.svs", "b.svs")
    content = bytearray(parquet_bytes(is_index=is_index))
    for place, value in changes:
        content[round(place * (len(content) - 1))] = value
    (folder / "t.parquet").write_bytes(content[: round(len(content) * share)])
    try:
        list_slides(folder / "t.parquet")
    except EosinError as error:
        assert one_line(error)


def test_parquet_with_a_name_that_is_not_utf8_is_refused(tmp_path):
    """Row 33 of the faults: it ended in a UnicodeDecodeError."""
    content = parquet_bytes(is_index=False)
    assert content.count(b"organ") > 1
    (tmp_path / "t.parquet").write_bytes(content.replace(b"organ", b"\xff\xfegan"))
    with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
        list_slides(tmp_path / "t.parquet")
    assert one_line(caught.value)


@pytest.mark.parametrize(
    "columns",
    [
        {"path": [b"a.svs"]},
        {"path": [["a.svs"]]},
        {"path": [None]},
        {"path": [1.5]},
        {"path": ["a.svs"], "when": pa.array([2**62], pa.timestamp("ms"))},
        {"path": ["a.svs"], "by": [{"a": 1}]},
        {"Path": ["a.svs"]},
    ],
    ids=["bytes", "list", "none", "number", "far time", "struct", "other case"],
)
def test_parquet_with_columns_of_other_types_is_refused(tmp_path, columns):
    touch(tmp_path, "a.svs")
    with pytest.raises(InputError) as caught:
        list_slides(write_parquet(tmp_path / "t.parquet", **columns))
    assert one_line(caught.value)


def test_a_name_that_looks_like_an_escape_is_that_name_in_tables_and_old_indexes(tmp_path):
    """Row 17 of the faults: indexes of earlier versions hold names as they are."""
    (path,) = touch(tmp_path, r"a\xFC.svs")
    for table in (
        write_csv(tmp_path / "t.csv", "path", path.name),
        write_parquet(tmp_path / "old.parquet", is_index=True, path=[path.name], problem=[None],
                      duplicate_of=[None]),
    ):  # fmt: skip
        assert [one.path for one in list_slides(table)] == [str(path)]


def test_a_folder_that_is_called_like_a_table_is_a_folder(tmp_path, caplog):
    (path,) = touch(tmp_path / "slides.csv", "a.svs")
    with caplog.at_level(logging.INFO):
        assert [one.path for one in list_slides(tmp_path / "slides.csv")] == [str(path)]

"""Tables of slides on disk, CSV or Parquet, as rows of plain values."""

import codecs
import csv
import difflib
import io
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from eosin.catalog.entry import Value
from eosin.errors import InputError, system_reason
from eosin.names import escaped, unescaped
from eosin.reading import exists, open_regular, read_regular

PATH_COLUMN = "path"
TABLE_SUFFIXES = frozenset({".csv", ".parquet"})

INDEX_MARK = b"eosin_index"
"""Key in a Parquet file's metadata that tells the index of a scan from a user's own table."""
ESCAPES_MARK = b"eosin_escapes"
"""Key of an index whose texts are `eosin.names.escaped`; those of earlier versions are not."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_MAX_REASON = 300
_MAX_DIGITS = 16
"""Of a whole number that can be exact as a float."""

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+([eE][+-]?\d+)?")
_MAX_EXACT = 2**53
"""Beyond it whole numbers are no floats: two identifiers could become one."""

_TRUTH = {"true": True, "false": False}


def read_table(path: Path) -> tuple[list[dict[str, Value]], bool]:
    """Return the rows of a table, and whether it is the index of a scan.

    Whole numbers come back as floats. A column of a CSV file holds numbers (or truth values) when
    all its values do, otherwise text; an identifier such as 0012 is text, and so are whole numbers
    too large for a float; an empty field is None.

    Raises:
        InputError: If the file is not there, or is no such table.
    """
    if not exists(path):
        raise InputError(
            f"{escaped(str(path))} does not exist; give a table of slides, a slide or a folder"
        )
    if path.suffix.lower() == ".csv":
        return _read_csv(path), False
    try:
        return _read_parquet(path)
    except InputError:
        raise
    except Exception as error:  # damaged files make Arrow raise errors of many kinds
        raise InputError(
            f"{escaped(str(path))} cannot be read as Parquet ({_in_short(error)}); write it again"
        ) from error


def require_columns(wanted: Iterable[str], there: Sequence[str], whose: str) -> None:
    """Refuse columns that a table lacks, naming those that are spelt alike.

    Raises:
        InputError: If one is missing.
    """
    for column in wanted:
        if column not in there:
            raise InputError(f"{whose} has no column {column!r}; {columns_hint(column, there)}")


def columns_hint(column: str, there: Iterable[str]) -> str:
    """Say which columns there are, those that are spelt like the wanted one first."""
    by_lower = {name.lower(): name for name in sorted(there)}
    close = difflib.get_close_matches(column.lower(), by_lower, n=3, cutoff=0.5)
    listed = ", ".join(repr(name) for name in by_lower.values()) or "none"
    nearest = ", ".join(repr(by_lower[name]) for name in close)
    return f"did you mean {nearest}? There are {listed}" if close else f"there are {listed}"


def _read_csv(path: Path) -> list[dict[str, Value]]:
    try:
        text = _decoded(read_regular(path))
        separator = _separator(text)
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(
            f"{escaped(str(path))} cannot be read as CSV ({system_reason(error)}); it needs a line "
            "of column names and UTF-8"
        ) from error
    numbered = [
        (number, [cell.strip() for cell in line])
        for number, line in enumerate(lines, start=1)
        if any(map(str.strip, line))
    ]
    if not numbered:
        raise InputError(f"{escaped(str(path))} is empty; it needs a line of column names")
    header = numbered.pop(0)[1]
    _check_header(path, header)
    for number, line in numbered:
        if len(line) != len(header):
            raise InputError(
                f"{escaped(str(path))}: row {number} has {len(line)} fields and the header "
                f"{len(header)}, separated by {_SEPARATORS[separator]}; quote fields that hold one"
            )
        for name, cell in zip(header, line, strict=True):
            if name != PATH_COLUMN and not _is_text(cell):
                raise InputError(
                    f"{escaped(str(path))}: row {number} has {escaped(cell)!r} for {name!r}, which "
                    "is not UTF-8; save the table as UTF-8"
                )
    columns = [_typed([line[i] for _, line in numbered]) for i in range(len(header))]
    return _rows(header, columns)


def _decoded(content: bytes) -> str:
    # Spreadsheets that write UTF-16 begin it with a mark.
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("it holds zero bytes, as UTF-16 without its mark does")
    # A file name may be any bytes; other cells are checked.
    return content.decode("utf-8-sig", "surrogateescape")


def _separator(text: str) -> str:
    """Return what separates the columns, one of which is the path: a comma unless others do."""
    for separator in _SEPARATORS:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
        if PATH_COLUMN in map(str.strip, header):
            return separator
    return ","


def _is_text(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def _typed(texts: list[str]) -> Sequence[Value]:
    filled = [text for text in texts if text]
    if filled and all(_is_number(text) for text in filled):
        return [float(text) if text else None for text in texts]
    if filled and all(text.lower() in _TRUTH for text in filled):
        return [_TRUTH[text.lower()] if text else None for text in texts]
    return [text or None for text in texts]


def _is_number(text: str) -> bool:
    if _NUMBER.fullmatch(text) is None:
        return False
    digits = text.lstrip("+-")
    return not digits.isdigit() or (len(digits) <= _MAX_DIGITS and int(digits) <= _MAX_EXACT)


def _read_parquet(path: Path) -> tuple[list[dict[str, Value]], bool]:
    # Imported here: it takes 0.2 s, and a folder of slides does not need it.
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    # Through a file object: Arrow takes no path that is not UTF-8. One thread: an index is small,
    # and a pool of threads costs more than it saves.
    with open(open_regular(path), "rb") as opened, parquet.ParquetFile(opened) as file:  # noqa: PTH123
        table = file.read(use_threads=False)
    _check_header(path, table.column_names)
    columns: list[Sequence[Value]] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            columns.append(_numbers(column.to_pylist()))
        elif pa.types.is_boolean(kind) or pa.types.is_null(kind):
            columns.append(column.to_pylist())
        else:
            columns.append(_texts(path, name, column.to_pylist()))
    marks = table.schema.metadata or {}
    if ESCAPES_MARK in marks:
        columns = [
            [unescaped(v) if isinstance(v, str) else v for v in column] for column in columns
        ]
    return _rows(table.column_names, columns), INDEX_MARK in marks


def _in_short(error: Exception) -> str:
    """Return an error of a library as one line of moderate length."""
    text = escaped(" ".join(system_reason(error).split()))
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."


def _numbers(values: Sequence[int | float | Decimal | None]) -> Sequence[Value]:
    if any(isinstance(v, int) and abs(v) > _MAX_EXACT for v in values):
        return [None if v is None else str(v) for v in values]
    # Pandas writes a missing number as NaN.
    return [None if v is None or math.isnan(v) else float(v) for v in values]


def _texts(path: Path, name: str, values: Sequence[object]) -> Sequence[Value]:
    for value in values:
        if value is not None and not isinstance(value, str | date):
            raise InputError(
                f"{path}: column {name!r} holds {type(value).__name__}; keep text, numbers and "
                "truth values"
            )
    return [None if value is None else str(value) for value in values]


def _rows(header: Sequence[str], columns: Sequence[Sequence[Value]]) -> list[dict[str, Value]]:
    return [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)]


def _check_header(path: Path, header: Sequence[str]) -> None:
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(
            f"{path} has the columns {', '.join(map(repr, sorted(twice)))} twice; rename one"
        )

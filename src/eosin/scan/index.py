"""The index on disk: one row per slide, Parquet, whole or not at all."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from eosin.atomic import atomic_file, check_file, check_folder
from eosin.catalog.entry import Value
from eosin.catalog.table import ESCAPES_MARK, INDEX_MARK, read_table
from eosin.errors import ConfigError
from eosin.names import escaped, get_logger
from eosin.plain import fingerprint
from eosin.scan.plan import ScanPlan
from eosin.scan.slide import Known, ScannedSlide

logger = get_logger(__name__)

_VERSION = 2
"""Raised when a scan finds out other things than before, so that old rows are not taken over."""

_KIND = "an index of a scan"

_ACCEPTANCE = re.compile(r"acceptance_[\d.e+-]+")

_WHOLE = ("num_bytes", "width_l0", "height_l0", "num_levels")
_NUMBERS = (
    "mpp_x", "mpp_y", "tissue_fraction", "tissue_mm2", "acceptance", "unreadable_fraction",
)  # fmt: skip
_SCANNED = tuple(
    field.name for field in dataclasses.fields(ScannedSlide) if field.name != "acceptance_by_mpp"
)


def write_index(
    out: Path,
    scanned: Sequence[ScannedSlide],
    metadata: Sequence[Mapping[str, Value]],
    plan: ScanPlan,
) -> None:
    """Write the index of a scan.

    Paths below the folder of the index are written relative to it, so that both can move together.
    What a scan finds out goes before a column of the slide list that has the same name.
    """
    measured = sorted({name for slide in scanned for name in slide.acceptance_by_mpp})
    columns: dict[str, pa.Array] = {}
    for name in _SCANNED:
        values = [getattr(slide, name) for slide in scanned]
        if name in ("path", "duplicate_of"):
            values = [None if path is None else _relative(path, out) for path in values]
        elif name == "scan_notes":
            values = ["; ".join(notes) or None for notes in values]
        columns[name] = pa.array(map(_storable, values), type=_type(name))
    for name in measured:
        values = [slide.acceptance_by_mpp.get(name) for slide in scanned]
        columns[name] = pa.array(values, type=pa.float64())
    listed = dict.fromkeys(name for row in metadata for name in row)
    for name in listed:
        # Those of an older index hold for other settings.
        if name not in columns and not _ACCEPTANCE.fullmatch(name):
            columns[name] = _listed_column([row.get(name) for row in metadata])
    marks = {
        INDEX_MARK: str(_VERSION).encode(),
        ESCAPES_MARK: b"1",
        b"eosin_plan": _plan_mark(plan),
    }
    table = pa.table(columns).replace_schema_metadata(marks)
    with atomic_file(out, is_ours=_is_index) as aside, aside.open("wb") as file:
        parquet.write_table(table, file)


def known_slides(out: Path, plan: ScanPlan) -> Known:
    """Return what an index that is already there knows, by content.

    Rows with a problem are not taken over, so that a mended slide is looked at again; nor is
    anything that was found out with other settings.
    """
    rows: dict[str, ScannedSlide] = {}
    num_rows: Counter[str] = Counter()
    if out.exists() and _marks(out).get(b"eosin_plan") == _plan_mark(plan):
        for row in read_table(out)[0]:
            if not row.keys() >= set(_SCANNED):
                break  # somebody has taken columns away
            content = row["fingerprint"]
            numbers = [row[name] for name in (*_WHOLE, *_NUMBERS)]
            if not all(n is None or (isinstance(n, float) and math.isfinite(n)) for n in numbers):
                continue  # somebody has changed it
            if isinstance(content, str) and row["problem"] is None:
                rows[content] = _scanned(row)
                num_rows[content] += row["duplicate_of"] is None
        # Two that are no copies of each other are known by no fingerprint.
        rows = {content: row for content, row in rows.items() if num_rows[content] == 1}
        logger.info("%s knows %d slides; those of unchanged content are taken over", out, len(rows))
    return rows.get


def check_places(
    out: Path, *, folders: Iterable[Path] = (), inputs: Iterable[Path | str] = ()
) -> None:
    """Refuse places in which a scan cannot write, before any slide is looked at.

    Args:
        out: Of the index.
        folders: In which the scan writes files beside it.
        inputs: What is scanned, which the index must not replace.

    Raises:
        ConfigError: If the name of the index has another ending than `.parquet`, or something else
            is in one of the places.
        WriteError: If nothing can be written there.
    """
    if out.suffix.lower() != ".parquet":
        raise ConfigError(f"{out} must end in .parquet, which is how an index is known")
    check_file(out, _KIND, is_ours=_is_index, inputs=inputs)
    for folder in folders:
        check_folder(folder, "a scan's folder beside its index")


def _is_index(path: Path) -> bool:
    return INDEX_MARK in _marks(path)


def _marks(path: Path) -> dict[bytes, bytes]:
    """Return what a Parquet file says of itself; nothing where it is no such file."""
    if not path.is_file():
        return {}
    try:
        # Through a file object: Arrow takes no path that is not UTF-8.
        with path.open("rb") as file:
            return dict(parquet.read_metadata(file).metadata or {})
    except (pa.ArrowException, OSError, ValueError):
        return {}


def _storable(value: object) -> object:
    return escaped(value) if isinstance(value, str) else value


def _plan_mark(plan: ScanPlan) -> bytes:
    return fingerprint([_VERSION, plan]).encode()


def _scanned(row: Mapping[str, Value]) -> ScannedSlide:
    values: dict[str, Value | int | tuple[str, ...]] = {name: row[name] for name in _SCANNED}
    for name in _WHOLE:
        number = row[name]
        if isinstance(number, float):
            values[name] = int(number)
    notes = row["scan_notes"]
    values["scan_notes"] = tuple(notes.split("; ")) if isinstance(notes, str) else ()
    measured = {
        name: share
        for name, share in row.items()
        if _ACCEPTANCE.fullmatch(name) and isinstance(share, float)
    }
    return ScannedSlide(**values, acceptance_by_mpp=measured)  # type: ignore[arg-type]


def _relative(path: str, out: Path) -> str:
    if "://" in path:
        return path
    folder, absolute = out.parent.resolve(), Path(path).absolute()
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)


def _type(name: str) -> pa.DataType:
    if name in _WHOLE:
        return pa.int64()
    return pa.float64() if name in _NUMBERS else pa.string()


def _listed_column(values: Sequence[Value]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1:
        # Two tables that do not agree on what the column holds.
        values = [None if value is None else str(value) for value in values]
    return pa.array(map(_storable, values))

"""Whatever names slides (a folder, a file, a table, an index, or a list of those) as one list.

A table's own mistakes are errors; what a scan has found unusable is left out, and said so.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from eosin.backends.files import find_slides
from eosin.catalog.entry import MPP_COLUMNS, SlideEntry, Value, says_no_number, stated_mpp
from eosin.catalog.table import TABLE_SUFFIXES, read_table, require_columns
from eosin.catalog.tcga import TCGA_COLUMNS, tcga_columns
from eosin.catalog.where import select
from eosin.errors import InputError
from eosin.names import escaped, get_logger, unescaped
from eosin.reading import exists

logger = get_logger(__name__)

Slides = Path | str | Sequence[Path | str]
"""A folder, a slide, a table of slides with a `path` column, an index, or several of these."""

_NOT_METADATA = ("path", "name", "fingerprint")
_NUM_NAMED = 3
_ALIKE_MPP = re.compile(
    r".*mpp[ _-].*|.*[ _-]mpp|mpp\d|resolution|pixel[ _-]?(size|spacing|width|height)"
    r"|magnification",
    re.IGNORECASE,
)
"""Columns that people give scales in, whose unit or meaning is not certain."""


def list_slides(slides: Slides, where: str | None = None) -> tuple[SlideEntry, ...]:
    """Return the slides that are named, each once, with what their row or their name says.

    Columns of a table go before what a TCGA barcode in the file name says. Paths in a table may be
    relative to its folder. Of two paths to one file the first is kept. An index of a scan is
    trusted: its files are not looked at, its duplicates and slides with a problem are left out.

    Args:
        slides: What to list.
        where: Condition on the columns, such as `section == 'DX'`; see `eosin.catalog.where`.

    Raises:
        InputError: If something is not there, a table has a fault, or no slide is left.
        ConfigError: If the condition cannot be understood.
    """
    return list_and_left_out(slides, where).entries


class Listed(NamedTuple):
    """The slides that are named, and those of them that are not used."""

    entries: tuple[SlideEntry, ...]
    left_out: dict[str, str]
    """Reason by path: a problem or a copy by an index, another path to the same file, or a
    condition that does not hold."""


def list_and_left_out(slides: Slides, where: str | None = None) -> Listed:
    """Return what `list_slides` does, with what it leaves out and why; raises the same."""
    left_out: dict[str, str] = {}
    given = [slides] if isinstance(slides, Path | str) else list(slides)
    if not given:
        raise InputError("an empty list has no slides; give a folder, slides or a table of slides")
    entries: list[SlideEntry] = []
    is_read_now = False
    for one in given:
        is_table = "://" not in str(one) and Path(one).suffix.lower() in TABLE_SUFFIXES
        if is_table and not os.path.isdir(one):  # noqa: PTH112 - any name may be given
            found, is_index = _read_entries(Path(one), left_out)
            is_read_now |= not is_index
        else:
            found = [
                SlideEntry(path=path, metadata=tcga_columns(path)) for path in find_slides(one)
            ]
            is_read_now = True
        entries.extend(found)
    # Asking the disk for each file is left out for a lone index: a remote disk takes its time.
    kept = _without_duplicates(entries, left_out, by_file=is_read_now)
    if where is None:
        return Listed(kept, left_out)
    columns = {column for entry in kept for column in entry.metadata}
    chosen = select(kept, where, columns | set(TCGA_COLUMNS))
    if not chosen:
        raise InputError(f"where={where!r} holds for none of {len(kept)} slides; loosen it")
    logger.info("where=%r keeps %d of %d slides", where, len(chosen), len(kept))
    in_use = {entry.path for entry in chosen}
    left_out |= {entry.path: f"--where {where}" for entry in kept if entry.path not in in_use}
    return Listed(chosen, left_out)


def _read_entries(table: Path, left_out: dict[str, str]) -> tuple[list[SlideEntry], bool]:
    rows, is_index = read_table(table)
    if not rows:
        raise InputError(f"{table} has no rows; it needs one per slide")
    require_columns(["path"], list(rows[0]), str(table))
    entries = [
        _entry(table, number, row, is_index=is_index) for number, row in enumerate(rows, start=1)
    ]
    _refuse_repeated(table, [entry.path for entry in entries])
    if not is_index:
        # One word makes text of a whole column: rows that hold numbers all the same are not at
        # fault, and looked at last.
        numbered = sorted(enumerate(rows, start=1), key=lambda one: not says_no_number(one[1]))
        for number, row in numbered:
            stated_mpp(row, f"{table}, row {number}")
        alike = [
            name
            for name in rows[0]
            if _ALIKE_MPP.fullmatch(name.strip()) and name.strip().lower() not in MPP_COLUMNS
        ]
        if alike:
            logger.warning(
                "%s: column %s is not used; if it holds microns per level-0 pixel, call it mpp",
                table,
                ", ".join(map(repr, alike)),
            )
    if is_index:
        return _usable(table, entries, left_out), True
    _refuse_absent(table, [entry.path for entry in entries])
    return entries, False


def _entry(table: Path, number: int, row: dict[str, Value], *, is_index: bool) -> SlideEntry:
    path, fingerprint = row["path"], row.get("fingerprint")
    if not isinstance(path, str):
        raise InputError(f"{table}: row {number} has {path!r} for a path; fill it in")
    metadata = {name: value for name, value in row.items() if name not in _NOT_METADATA}
    # An index holds what the names say already, since it was written from such a list.
    for name, value in () if is_index else tcga_columns(path).items():
        if metadata.get(name) is None:
            metadata[name] = value
    if "://" not in path:
        # As strings: 10,000 paths as objects take 0.1 s.
        path = _beside(table, path, is_index=is_index)
    return SlideEntry(
        path=path,
        metadata=metadata,
        fingerprint=fingerprint if isinstance(fingerprint, str) else None,
    )


def _beside(table: Path, path: str, *, is_index: bool) -> str:
    """Return a path of a table from the working directory."""
    found = os.path.join(table.parent, path)  # noqa: PTH118
    if is_index or os.path.lexists(found):
        return found
    # As eosin writes names that are not UTF-8, copied from an index or a message.
    meant = os.path.join(table.parent, unescaped(path))  # noqa: PTH118
    return meant if os.path.lexists(meant) else found


def _usable(index: Path, entries: list[SlideEntry], left_out: dict[str, str]) -> list[SlideEntry]:
    faulty = [entry for entry in entries if entry.metadata.get("problem") is not None]
    repeated = [entry for entry in entries if entry.metadata.get("duplicate_of") is not None]
    if faulty:
        logger.warning(
            "%s: %d of %d slides have a problem and are left out, such as %s (%s); scan again once "
            "they are mended",
            index, len(faulty), len(entries), faulty[0].name, faulty[0].metadata["problem"],
        )  # fmt: skip
    if repeated:
        logger.warning("%s: %d slides are copies of others and left out", index, len(repeated))
    left_out |= {entry.path: str(entry.metadata["problem"]) for entry in faulty}
    left_out |= {
        entry.path: f"is a copy of {Path(str(entry.metadata['duplicate_of'])).name}"
        for entry in repeated
    }
    unusable = {id(entry) for entry in (*faulty, *repeated)}
    usable = [entry for entry in entries if id(entry) not in unusable]
    if not usable:
        raise InputError(f"{index} has no slide without a problem; see its column 'problem'")
    return usable


def _without_duplicates(
    entries: Iterable[SlideEntry], left_out: dict[str, str], *, by_file: bool
) -> tuple[SlideEntry, ...]:
    first: dict[str, SlideEntry] = {}
    dropped: list[tuple[SlideEntry, SlideEntry]] = []
    for entry in entries:
        path = entry.path
        key = os.path.realpath(path) if by_file and "://" not in path and "\0" not in path else path
        if key in first:
            dropped.append((entry, first[key]))
            if entry.path != first[key].path:
                left_out[entry.path] = f"is the same file as {first[key].path}"
        else:
            first[key] = entry
    if dropped:
        entry, kept = dropped[0]
        logger.warning(
            "%d paths name a file that is listed already and are left out, such as %s (kept: %s)",
            len(dropped), entry.path, kept.path,
        )  # fmt: skip
    return tuple(first.values())


def _refuse_repeated(table: Path, paths: Sequence[str]) -> None:
    repeated = [path for path, count in Counter(paths).items() if count > 1]
    if repeated:
        raise InputError(
            f"{table} has {_named(repeated)} in more than one row; which one holds? Keep one each"
        )


def _refuse_absent(table: Path, paths: Sequence[str]) -> None:
    absent = [path for path in paths if "://" not in path and not exists(path)]
    if absent:
        raise InputError(
            f"{table} names {len(absent)} files that do not exist: {_named(absent)}; paths are "
            f"relative to {table.parent}"
        )


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - _NUM_NAMED
    return ", ".join(map(escaped, paths[:_NUM_NAMED])) + (f" and {more} more" if more > 0 else "")

"""Slides that are names only, and tables of them."""

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from eosin.catalog import SlideEntry


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return paths


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_parquet(target: Path, *, is_index: bool = False, **columns) -> Path:
    table = pa.table(columns)
    if is_index:
        table = table.replace_schema_metadata({b"eosin_index": b"1"})
    parquet.write_table(table, target)
    return target


def entry(path: str = "a.svs", **metadata) -> SlideEntry:
    return SlideEntry(path=path, metadata=metadata)

"""A table of every patch that was delivered, in Parquet parts, to prove what a model has seen.

A part appears whole when it is full or the stream's state is taken, so a run that is killed loses
the rows since then; going on, it writes them again, each sample once.
"""

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.parquet as pq

from eosin.atomic import atomic_file, remove_leftovers
from eosin.catalog.anonymous import slide_key
from eosin.errors import InputError
from eosin.names import escaped
from eosin.plain import Plain, fingerprint
from eosin.stream.result import PatchResult

ROWS_PER_PART = 10_000

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("slide", pa.string()),
        ("fingerprint", pa.string()),
        ("x_l0", pa.int64()),
        ("y_l0", pa.int64()),
        ("level", pa.int16()),
        ("read_width", pa.int32()),
        ("read_height", pa.int32()),
        ("patch_size_px", pa.int32()),
        ("mpp", pa.float64()),
        ("tissue_fraction", pa.float32()),
        ("augmentation", pa.string()),
        ("pixels_crc32", pa.uint32()),
        ("rejections", pa.string()),
    ]
)
"""One row a sample: where it was read, what was drawn to augment it (JSON), the CRC-32 of the patch
before that, and how many candidates fell to what before it (JSON)."""

PART = re.compile(r"samples_\d{12,}\.parquet")
"""Name of a part, with its first sample."""
_SETTINGS_KEY = b"eosin settings"


@final
class ManifestWriter:
    """Writes samples down as they are delivered; for one process."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Plain], *, anonymous: bool = False
    ) -> None:
        """Take a folder; rows that it has from the first recorded sample on are written anew.

        Args:
            folder: May hold the manifest of the same stream.
            settings: Of the stream.
            anonymous: Write the key of a slide's content in place of its file name.

        Raises:
            InputError: If the folder holds the manifest of a stream with other settings.
        """
        self.folder = folder
        self._anonymous = anonymous
        mine = fingerprint(dict(settings)).encode()
        self._schema = SCHEMA.with_metadata({_SETTINGS_KEY: mine})
        self._rows: list[dict[str, object]] = []
        self._highest = -1
        self._known: set[int] | None = None
        """Samples that have their rows, once a sample came that is not beyond all others."""
        for part in manifest_parts(folder):
            if _settings_of(part) != mine:
                raise InputError(
                    f"{folder} holds the manifest of a stream with other settings; give another "
                    "folder, or remove it"
                )

    def record(self, result: PatchResult) -> None:
        """Write a delivered sample down; one that is delivered again has its row already."""
        if self._highest < 0:
            remove_leftovers(self.folder, of=r"samples_\d{12,}")
            self._forget_from(result.index)
        if result.index <= self._highest and result.index in self._those_recorded():
            return
        self._highest = max(self._highest, result.index)
        if self._known is not None:
            self._known.add(result.index)
        row = _row(result)
        if self._anonymous:
            row["slide"] = slide_key(str(row["fingerprint"]))
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Put what was recorded on disk."""
        if self._rows:
            rows = pa.Table.from_pylist(self._rows, self._schema)
            self._write(rows.sort_by("index"))
            self._rows = []

    def _those_recorded(self) -> set[int]:
        if self._known is None:
            on_disk = (read_part(part, ["index"]) for part in manifest_parts(self.folder))
            self._known = {index for table in on_disk for index in table["index"].to_pylist()}
            self._known.update(int(str(row["index"])) for row in self._rows)
        return self._known

    def _forget_from(self, index: int) -> None:
        """Drop rows of samples that come again."""
        for part in manifest_parts(self.folder):
            table = read_part(part)
            # Rows stand in the order of their samples.
            kept = table.slice(0, bisect_left(table["index"].to_pylist(), index))
            if kept.num_rows == table.num_rows:
                continue
            if kept.num_rows:
                self._write(kept.cast(self._schema))
            else:
                part.unlink()

    def _write(self, table: pa.Table) -> None:
        first = table["index"][0].as_py()
        with (
            atomic_file(self.folder / f"samples_{first:012d}.parquet") as aside,
            aside.open("wb") as file,
        ):
            pq.write_table(table, file, compression="zstd")


def _settings_of(part: Path) -> bytes | None:
    """Return the fingerprint of the settings of a part; None for a file that is not a part."""
    try:
        with part.open("rb") as file:
            return (pq.read_schema(file).metadata or {}).get(_SETTINGS_KEY)
    except (pa.ArrowException, OSError):
        return None


def manifest_parts(folder: Path) -> list[Path]:
    """Return the parts of a manifest, in the order of the samples."""
    return sorted(path for path in folder.glob("samples_*.parquet") if PART.fullmatch(path.name))


def read_part(part: Path, columns: list[str] | None = None) -> pa.Table:
    """Return the rows of one part, all columns or some; names of slides are `escaped`."""
    # Through a file object: Arrow takes no path that is not UTF-8.
    with part.open("rb") as file:
        return pq.read_table(file, columns=columns)


def read_manifest(folder: Path) -> pa.Table:
    """Return all rows of a manifest, in the order of the samples.

    Raises:
        InputError: If the folder has no manifest.
    """
    parts = manifest_parts(folder)
    if not parts:
        raise InputError(f"{folder} has no parts of a manifest (samples_*.parquet)")
    tables = [read_part(part).replace_schema_metadata(None) for part in parts]
    return pa.concat_tables(tables).sort_by("index")


def _row(result: PatchResult) -> dict[str, object]:
    at = result.coordinate
    return {
        "index": result.index,
        "slide": escaped(str(result.slide_metadata["name"])),
        "fingerprint": result.slide_metadata["fingerprint"],
        "x_l0": at.x,
        "y_l0": at.y,
        "level": at.level,
        "read_width": at.read_width,
        "read_height": at.read_height,
        "patch_size_px": at.patch_size,
        "mpp": at.mpp,
        "tissue_fraction": result.tissue_fraction,
        "augmentation": json.dumps(dict(result.augmentation)),
        "pixels_crc32": result.pixels_crc32,
        "rejections": json.dumps(Counter(r.cause for r in result.rejections)),
    }

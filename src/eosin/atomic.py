"""Files that appear whole or not at all: written aside, flushed to the disk, renamed."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path to write to; it becomes `path` when the block ends without an exception.

    The block may make a file or a folder. Until the rename nothing stands at `path` (or the old
    file stands there whole); after it, the new one does, also when the power fails. An existing
    folder at `path` is replaced, with a moment in between in which nothing stands there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as OpenCV choose the format by it.
    writer = f"{os.getpid()}-{threading.get_ident()}"
    aside = path.with_name(f".{path.stem}.{writer}.writing{path.suffix}")
    _remove(aside)
    try:
        yield aside
        _flush(aside)
        if path.is_dir() and not path.is_symlink():
            _remove(path)
        aside.replace(path)
        _flush_entry(path.parent)
    finally:
        _remove(aside)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file at once, text as UTF-8."""
    with atomic_path(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while writing have left in a folder.

    Only for folders in which nobody else is writing at this moment.
    """
    for leftover in folder.glob(".*.writing*"):
        _remove(leftover)


def _flush(path: Path) -> None:
    # A path at which the block made nothing fails here, before the old content is touched.
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    for file in files:
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
    if path.is_dir():
        for folder in [path, *(p for p in path.rglob("*") if p.is_dir())]:
            _flush_entry(folder)


def _flush_entry(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

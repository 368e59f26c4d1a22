"""What eosin writes: a place that is checked before the work, then a file or folder, whole or not.

Written aside, flushed to the disk, renamed. A file never takes the place of a folder, and a folder
only that of one which its writer recognises as its own; what is not eosin's is refused by name.
"""

import contextlib
import errno
import logging
import os
import re
import shutil
import stat
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eosin.errors import ConfigError, EosinError, WriteError, system_advice, system_reason
from eosin.reading import exists

logger = logging.getLogger(__name__)

IsOurs = Callable[[Path], bool]
"""Says of a file or folder that is there whether eosin wrote it, and so may replace it."""

_OF_FULL_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_ERRNO_IN_TEXT = re.compile(r"(?:\berrno = |\bos error |\[Errno )(\d+)")
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""What NumPy says in place of the system's error."""
_LEFTOVER = re.compile(
    r"\.(?P<of>.+?)(\.[0-9a-f]{8})?(\.\d+-\d+|\.\d+|\.[0-9a-f]{32}|(?<=\.step_\d{8}))"
    r"\.writing(\.\w+){0,2}"
)
"""A name aside, of this version or an earlier one: process and thread, or a random number. Only old
checkpoints that were being removed had neither."""
_SHOWN_CHARS = 24
_MAX_SUFFIX_BYTES = 16
"""With both, a name aside has at most 223 bytes, whatever the file will be called."""


@contextmanager
def atomic_file(path: Path, *, is_ours: IsOurs | None = None) -> Iterator[Path]:
    """Give a path to write a file to; it becomes `path` when the block ends without an exception.

    Until then the old file stands there whole, or nothing; after it the new one does, also when the
    power fails. Where `path` is a link, the file that it leads to is replaced, not the link.

    Args:
        path: The file; folders above it are made.
        is_ours: Of a file that is there already. None for a file in a folder that is eosin's.

    Raises:
        ConfigError: If a folder, a device or a pipe is at `path`, or a file that is not ours.
        WriteError: If it cannot be written, such as on a full disk.
    """
    path = _behind_links(path)
    aside = _aside(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_to_replace(path, is_ours)
        _remove(aside)
        # Made once here, so that a folder that cannot be written is not taken for an error of what
        # happens in the block.
        aside.touch()
        aside.unlink()
    try:
        with explained(path, _OF_FULL_DISKS):
            yield aside
        with explained(path):
            _flush(aside)
            _refuse_to_replace(path, is_ours)
            aside.replace(path)
            _flush_entry(path.parent)
    finally:
        with contextlib.suppress(OSError):
            _remove(aside)


@contextmanager
def atomic_folder(path: Path, *, is_ours: IsOurs) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `path` when the block ends without an exception.

    A folder at `path` that is empty or ours is replaced, with a moment in between in which nothing
    is there; where the new one cannot take its place, the old one comes back.

    Args:
        path: The folder; folders above it are made.
        is_ours: Of a folder that is there already: that eosin wrote all that is in it.

    Raises:
        ConfigError: If a file is at `path`, or a folder that is not ours.
        WriteError: If it cannot be written, such as on a full disk.
    """
    path = _behind_links(path)
    aside = _aside(path)
    old = aside.with_name(f"{aside.name}.old")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_to_replace_folder(path, is_ours)
        _remove(aside)
        aside.mkdir()
    try:
        with explained(path, _OF_FULL_DISKS):
            yield aside
        with explained(path):
            _flush(aside)
            if _is_filled(path):
                path.rename(old)
            try:
                # Looked at once more where nobody else can have it in use by its name.
                _refuse_to_replace_folder(old, is_ours)
                aside.rename(path)
            except BaseException:
                if old.exists():
                    old.rename(path)
                raise
            _flush_entry(path.parent)
        # Not before, as it may be all that there is.
        with contextlib.suppress(OSError):
            _remove(old)
    finally:
        with contextlib.suppress(OSError):
            _remove(aside)


def write_atomic(path: Path, content: bytes | str, *, is_ours: IsOurs | None = None) -> None:
    """Write a whole file at once, text as UTF-8; arguments and errors as of `atomic_file`."""
    with atomic_file(path, is_ours=is_ours) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path, of: str) -> None:
    """Remove what processes that were killed while writing have left in a folder.

    Only for folders in which nobody else is writing at this moment.

    Args:
        folder: Where to look; not below it.
        of: Regular expression for the names, without suffix, of what they were writing.
    """
    for leftover in folder.glob(".*.writing*"):
        found = _LEFTOVER.fullmatch(leftover.name)
        if found and re.fullmatch(of, found["of"]):
            _remove(leftover)


@contextmanager
def explained(path: Path, numbers: frozenset[int] | None = None) -> Iterator[None]:
    """Turn what the system says while `path` is written into a WriteError.

    Args:
        path: What is written.
        numbers: Only errors of these numbers, which libraries may have put into the text of an
            error of their own. None turns every OSError.
    """
    try:
        yield
    except EosinError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (found := _ERRNO_IN_TEXT.search(str(error))):
            number = int(found[1])
        elif number is None and _SHORT_WRITE.search(str(error)):
            number = errno.ENOSPC
        is_meant = isinstance(error, OSError) if numbers is None else number in numbers
        if not is_meant:
            raise
        said = error if number is None else OSError(number, os.strerror(number))
        advice = system_advice(said) if isinstance(said, OSError) else ""
        raise WriteError(path, system_reason(said), advice) from error


def foreign_file(folder: Path, own: re.Pattern[str]) -> Path | None:
    """Return a file below a folder that eosin does not make there; None if there is none.

    Links are never eosin's. What processes that were killed while writing have left is.

    Args:
        folder: Where to look, at any depth.
        own: Paths, relative to the folder, of files that eosin makes there.
    """
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return next((path for path in files if not _is_own(path, folder, own)), None)


def remove_own_files(folder: Path, own: re.Pattern[str], *, is_ours: IsOurs | None = None) -> None:
    """Remove the files that eosin makes below a folder, and folders that are empty then.

    What `foreign_file` would return stays, with the folders that it is in, and what `is_ours` says
    is somebody's.
    """
    if folder.is_symlink():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # where something has stayed
                path.rmdir()
        elif _is_own(path, folder, own) and (is_ours is None or is_ours(path)):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _is_own(path: Path, folder: Path, own: re.Pattern[str]) -> bool:
    relative = path.relative_to(folder).as_posix()
    is_leftover = any(_LEFTOVER.fullmatch(part) for part in relative.split("/"))
    return not path.is_symlink() and (is_leftover or own.fullmatch(relative) is not None)


def check_file(
    path: Path, kind: str, *, is_ours: IsOurs | None = None, inputs: Iterable[Path | str] = ()
) -> None:
    """Refuse a place for a file before any work is done for it; nothing is changed there.

    Args:
        path: Where the file is to be; it and folders above it may be missing.
        kind: Of file, for messages, such as "an index of a scan".
        is_ours: Of a file that is there already; None for a file in a folder that is eosin's.
        inputs: What the work reads, which the file must not replace.

    Raises:
        ConfigError: If a folder, a device, an input or a file that is not ours is there.
        WriteError: If no file can be made there.
    """
    with explained(path):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder, and {kind} is a file; name a file in it")
        _refuse_input(path, kind, inputs)
        _refuse_to_replace(path, is_ours, kind)
        target = _behind_links(path)
        _try(target.parent, target)


def check_folder(
    path: Path,
    kind: str,
    *,
    is_ours: IsOurs | None = None,
    inputs: Iterable[Path | str] = (),
    hint: str = "",
) -> None:
    """Refuse a place for a folder before any work is done for it; nothing is changed there.

    Args:
        path: Where the folder is to be; it and folders above it may be missing.
        kind: Of folder, for messages, such as "an export".
        is_ours: Of a folder that is there already, where it is to be replaced as a whole; None
            where files are added to it.
        inputs: What the work reads, which the folder must not be.
        hint: Why a folder may not be known as ours, for the message.

    Raises:
        ConfigError: If a file, an input or a folder that is not ours is there.
        WriteError: If nothing can be written there.
    """
    with explained(path):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file, and {kind} is a folder; give another name")
        if path.is_symlink() and not path.exists():
            raise ConfigError(f"{path} is a link to nothing; give another name, or remove it")
        _refuse_input(path, kind, inputs)
        if is_ours is not None:
            _refuse_to_replace_folder(path, is_ours, kind, hint)
        target = _behind_links(path)
        _try(target if is_ours is None else target.parent, target)


def _refuse_input(path: Path, kind: str, inputs: Iterable[Path | str]) -> None:
    if not path.exists():
        return
    for one in inputs:
        if "://" not in str(one) and exists(one) and path.samefile(one):
            raise ConfigError(f"{path} is read by this command; give another place for {kind}")


def _refuse_to_replace(path: Path, is_ours: IsOurs | None, kind: str = "such a file") -> None:
    """Raise ConfigError where something is at `path` that a file must not replace."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise ConfigError(f"{path} is a folder, which a file does not replace; give another name")
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path} is a device or a pipe; name a file")
    if is_ours is None:
        return
    if not is_ours(path):
        raise ConfigError(
            f"{path} is there and is not {kind} that eosin wrote; give another name, or move it "
            "away first"
        )
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path} is write-protected; give another name, or allow writing to it (chmod u+w)"
        )


def _refuse_to_replace_folder(
    path: Path, is_ours: IsOurs, kind: str = "eosin's own", hint: str = ""
) -> None:
    """Raise ConfigError where something is at `path` that a folder must not replace."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file, which a folder does not replace; give another name")
    if _is_filled(path) and not is_ours(path):
        why = f" ({hint})" if hint else ""
        raise ConfigError(
            f"{path} holds something that is not {kind}{why}; remove it if you need it no more, or "
            "give another folder"
        )


def _is_filled(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())


def _try(folder: Path, path: Path) -> None:
    """Make a file in a folder and remove it again, and the folders that had to be made for it.

    A disk without a free byte or inode is found as well as a folder that cannot be written.
    """
    nearest = next(above for above in (folder, *folder.parents) if above.exists())
    if not nearest.is_dir():
        raise ConfigError(f"{nearest} is a file, so {path} cannot be written; give another place")
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    made: list[Path] = []
    try:
        for above in reversed(missing):
            above.mkdir()
            made.append(above)
        probe = _aside(folder / path.name)
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, b"eosin")
        finally:
            os.close(descriptor)
            probe.unlink()
        if len(os.fsencode(path.name)) > os.pathconf(folder, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    finally:
        for above in reversed(made):
            # Somebody else may have put something into it by now.
            with contextlib.suppress(OSError):
                above.rmdir()


def _behind_links(path: Path) -> Path:
    """Return what a path leads to, so that no link is replaced, and a name for `.` and `..`."""
    has_name = path.name not in ("", "..")
    return path if has_name and not path.is_symlink() else Path(os.path.realpath(path))


def _aside(path: Path) -> Path:
    """Return a hidden name beside `path` for this thread, of a length that fits on any disk."""
    writer = f"{os.getpid()}-{threading.get_ident()}"
    # The suffix stays last: writers such as OpenCV choose the format by it.
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _MAX_SUFFIX_BYTES else ""
    digest = zlib.crc32(os.fsencode(path.name))
    return path.with_name(f".{path.stem[:_SHOWN_CHARS]}.{digest:08x}.{writer}.writing{suffix}")


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
    """Remove a name that only this module gives."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

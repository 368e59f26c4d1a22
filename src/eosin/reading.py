"""Opening what a user names: regular files only, so that nothing is waited for without end.

Opening a named pipe waits for somebody who writes into it, and a device such as /dev/zero never
ends; a thread that does either can be stopped by nobody.
"""

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def exists(path: Path | str) -> bool:
    """Return whether something is there; also for a name that no file can have, which is not."""
    return os.path.exists(path)  # noqa: PTH110 - its namesake raises for such names


def kind_of(path: Path | str) -> str:
    """Return what a path is when it is no regular file, such as "a named pipe"; else nothing.

    Nothing for a folder, and for what is not there.
    """
    try:
        return _KINDS.get(stat.S_IFMT(Path(path).stat().st_mode), "")
    except (OSError, ValueError):
        return ""


def open_regular(path: Path | str) -> int:
    """Return a descriptor to read a file with.

    Raises:
        OSError: If it cannot be opened, is no regular file, or no file can have such a name.
    """
    try:
        # Looked at before it is opened, as opening a device may do something; and again after, as
        # it may have been replaced in between.
        _check(path, Path(path).stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"no file has such a name: {error}", str(path)) from error
    try:
        _check(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def check_regular(path: Path | str) -> None:
    """Refuse what cannot be read to its end, before a library opens it by its name.

    Raises:
        OSError: As `open_regular`.
    """
    os.close(open_regular(path))


def read_regular(path: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: As `open_regular`, or if it cannot be read.
    """
    with open(open_regular(path), "rb") as file:
        return file.read()


def _check(path: Path | str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")
        raise OSError(errno.EINVAL, f"is {kind}; only regular files are read", str(path))

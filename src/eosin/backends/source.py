"""Bytes of a slide file at any offset: from a local file, or over any protocol fsspec knows."""

import errno
import io
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from eosin.errors import MissingDependencyError
from eosin.reading import open_regular

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PARSING_BYTES = 65536
"""Read at once while parsing: headers are small values, and every request costs a journey."""


class ByteSource(ABC):
    """An open file. Safe from several threads; it closes with its last reader."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Length in bytes."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Another one when the file is another one, or was changed as far as can be seen."""

    @abstractmethod
    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Return bytes; fewer at the end of the file.

        Raises:
            OSError: If they cannot be read.
        """

    def as_file(self) -> io.BufferedReader:
        """Return a file object with a position of its own, for those that parse."""
        return io.BufferedReader(_Positioned(self), _PARSING_BYTES)


@final
class _Positioned(io.RawIOBase):
    """A position in a source."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        content = self._source.read_at(self._position, len(view))
        view[: len(content)] = content
        self._position += len(content)
        return len(content)


@final
class LocalSource(ByteSource):
    """A file on disk, read without moving a shared position."""

    def __init__(self, path: Path | str) -> None:
        self._descriptor = open_regular(path)
        about = os.fstat(self._descriptor)
        self._size = about.st_size
        self._version = f"{about.st_dev} {about.st_ino} {about.st_size} {about.st_mtime_ns}"

    @property
    def size(self) -> int:
        return self._size

    @property
    def version(self) -> str:
        return self._version

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        return os.pread(self._descriptor, num_bytes, offset)

    def __del__(self) -> None:
        # Not in a close(): another thread may be reading, and the number would soon be another's.
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


@final
class RemoteSource(ByteSource):
    """A file behind a URL, such as `s3://bucket/a.svs`, read by ranges."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pid = os.getpid()
        self._files, self._path = _file_system(url)
        with _as_os_errors():
            size = self._files.info(self._path)["size"]
        if size is None:
            raise OSError("its server does not say how long the file is")
        self._size = int(size)
        self._version = f"{url} {uuid.uuid4()}"  # servers need not say when it was changed

    @property
    def size(self) -> int:
        return self._size

    @property
    def version(self) -> str:
        return self._version

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        end = min(offset + num_bytes, self._size)
        if offset >= end:
            return b""
        if self._pid != os.getpid():
            # Connections do not live on in a child process.
            self._files, _ = _file_system(self._url)
            self._pid = os.getpid()
        with _as_os_errors():
            content: bytes = self._files.cat_file(self._path, start=offset, end=end)
        if len(content) != end - offset:
            raise OSError(
                f"its server gave {len(content)} bytes where {end - offset} were asked for; it has "
                "to serve ranges"
            )
        return content


def _file_system(url: str) -> tuple["AbstractFileSystem", str]:
    try:
        import fsspec  # noqa: PLC0415 - only for paths that are URLs
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"reading {url} needs fsspec: pip install 'eosin[remote]'"
        ) from error
    try:
        with _as_os_errors():
            files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {url} needs another package ({error}); install it"
        ) from error
    return files, path


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turn the errors of protocols, each of which has its own, into one kind."""
    try:
        yield
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(
            error.__cause__, FileNotFoundError
        ):
            # Of http, which says so of any server that cannot be reached.
            raise ConnectionError(f"its server cannot be reached: {error.__cause__}") from error
        # Some say nothing but the URL.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
    except (OSError, ImportError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def open_source(path: Path | str) -> ByteSource:
    """Open a path, or a URL (anything that holds `://`).

    Raises:
        OSError: If it cannot be opened.
        MissingDependencyError: If a URL needs a package that is not installed.
    """
    return RemoteSource(str(path)) if "://" in str(path) else LocalSource(path)

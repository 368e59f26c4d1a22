"""One process at a time writes to a folder; without locks in the file system, people see to it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eosin.backends.crash import LACKS_LOCKS
from eosin.errors import ConfigError
from eosin.names import get_logger

logger = get_logger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the same folder.

    A file system without locks is warned of, and lets every process in.

    Raises:
        ConfigError: If another process writes to it at this moment.
    """
    # To append, as opening it to write would empty a file of that name that is somebody's.
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is training in {folder}; wait for it, or give another out_dir"
            ) from error
        except OSError as error:
            if error.errno not in LACKS_LOCKS:
                raise
            logger.warning(
                "the file system of %s has no locks (%s), so that nothing stops two runs from "
                "writing to it and spoiling each other; start no second one there, or have it "
                "mounted with flock",
                folder,
                error.strerror,
            )
        yield

"""Errors of disks and networks that pass: tried again a few times before they count."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from eosin.errors import ConfigError
from eosin.reading import exists

_PASSING = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.EAGAIN,
        errno.EINTR,
        errno.EBUSY,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EREMOTEIO,
    }
)
_WORDS = tuple(os.strerror(code) for code in sorted(_PASSING))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often a passing error is tried again; its samples are those of an undisturbed run."""

    delays_s: tuple[float, ...] = (0.1, 0.5, 2.0)
    """Pauses before each new try; none for no second try."""

    def __post_init__(self) -> None:
        if any(not 0 <= delay <= 60 for delay in self.delays_s):
            raise ConfigError(f"delays_s={self.delays_s} must be pauses of 0 to 60 seconds")

    def pauses(self, *, is_patient: bool = True) -> Iterator[None]:
        """Wait before each new try, as often as there is one; not at all without patience."""
        for delay_s in self.delays_s:
            time.sleep(delay_s if is_patient else 0.0)
            yield


def may_pass(error: BaseException, path: str) -> bool:
    """Return whether an error is of the disk or network and not of the file's content.

    A file that is gone counts: on a network disk it may come back.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError | ConnectionError):
            return True
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            return True
        # Libraries that read files themselves say it in words only.
        if any(words in str(cause) for words in _WORDS):
            return True
        cause = cause.__cause__
    # A name that no file can have is not there either.
    return "://" not in path and not exists(path)

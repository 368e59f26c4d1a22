"""What the threads of a stream are doing, so that one that hangs can be named."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from eosin.errors import ConfigError
from eosin.names import get_logger

logger = get_logger(__name__)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a call may take before it is reported, and before the stream gives up."""

    warning_s: float = 60.0
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0 < self.warning_s <= self.timeout_s:
            raise ConfigError(
                f"warning_s={self.warning_s} must be above 0 and at most "
                f"timeout_s={self.timeout_s}, the seconds after which a stream gives up"
            )


@final
class Activities:
    """What each thread is doing at the moment, and since when."""

    def __init__(self) -> None:
        self._of_thread: dict[int, tuple[str, float]] = {}

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Note what this thread does until the block ends."""
        thread = threading.get_ident()
        before = self._of_thread.get(thread)
        self._of_thread[thread] = what, time.monotonic()
        try:
            yield
        finally:
            if before is None:
                del self._of_thread[thread]
            else:
                self._of_thread[thread] = before

    def longest(self) -> tuple[str, float]:
        """Return what takes longest, and its seconds so far; nothing and 0 when all are idle."""
        running = list(self._of_thread.values())
        if not running:
            return "", 0.0
        what, start = min(running, key=lambda activity: activity[1])
        return what, time.monotonic() - start


@contextmanager
def watched(activities: Activities, patience: Patience) -> Iterator[None]:
    """Report what hangs while the block runs; for work without threads, which nobody can stop."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(patience.warning_s / 2):
            what, seconds = activities.longest()
            if seconds >= patience.warning_s:
                logger.warning("%s takes %.0f s so far", what, seconds)

    thread = threading.Thread(target=watch, name="eosin-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        # The garbage collector may end the block from any thread.
        if thread is not threading.current_thread():
            thread.join()

"""Read ahead with threads, in order and bounded: decoding and OpenCV release the GIL.

A call that never returns is reported with what it reads, and ends the stream after a while.
"""

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar, final

from eosin.errors import StreamStalledError
from eosin.stream.watch import Activities, Patience, watched

logger = logging.getLogger(__name__)

Key = TypeVar("Key")
Value = TypeVar("Value")

_THREAD_NAME = "eosin-ahead"
_JOIN_S = 5.0
"""Seconds that the end of a stream waits for calls that are still running."""


@final
@dataclass(frozen=True, slots=True)
class Watch:
    """Where a function's threads note what they do, and how long that may take."""

    activities: Activities
    patience: Patience


@final
@dataclass(frozen=True, slots=True)
class ByteBound(Generic[Value]):
    """Bytes of values that may be there ahead of the caller, and how to tell them."""

    max_bytes: int
    size_of: Callable[[Value], int]


def map_ahead(
    function: Callable[[Key], Value],
    keys: Iterable[Key],
    *,
    num_threads: int,
    depth: int,
    bound: ByteBound[Value] | None = None,
    watch: Watch | None = None,
) -> Generator[Value]:
    """Yield `function(key)` for each key in order, working up to `depth` keys ahead.

    With no threads each value is computed when it is asked for. Threads end with the generator:
    when it is exhausted, closed or collected, or when a call raises (the exception comes through).

    Args:
        function: Called from several threads at once.
        keys: What for; taken as they are needed.
        num_threads: Threads; 0 for none.
        depth: Keys ahead at most.
        bound: Fewer keys ahead when the values are large, by the largest so far; one at least.
        watch: Who to name when a call does not return; without threads it is only reported.

    Raises:
        StreamStalledError: If the next value is not there after the watch's patience.
    """
    if num_threads == 0:
        with watched(watch.activities, watch.patience) if watch else nullcontext():
            yield from map(function, keys)
        return
    workers = _Workers(function, num_threads)
    pending: deque[_Job[Key, Value]] = deque()
    remaining = iter(keys)
    largest_bytes = 1
    allowed = depth
    wait_s = _JOIN_S
    try:
        while True:
            # The first fills up; later on one begins for each that is taken.
            more = islice(remaining, max(0, allowed - len(pending)))
            pending.extend(workers.submit(key) for key in more)
            if not pending:
                return
            try:
                value = workers.take(pending.popleft(), watch)
            except _HungError:
                wait_s = 0.0
                raise
            if bound is not None:
                largest_bytes = max(largest_bytes, bound.size_of(value))
                allowed = max(1, min(depth, bound.max_bytes // largest_bytes))
            if len(pending) < allowed:
                pending.extend(workers.submit(key) for key in islice(remaining, 1))
            yield value
    finally:
        workers.close(wait_s)


class _HungError(StreamStalledError):
    """A call does not return, so nobody waits for its thread either."""


@final
class _Job(Generic[Key, Value]):
    __slots__ = ("error", "is_done", "key", "values")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.is_done = False
        self.values: list[Value] = []
        """The value, once it is there."""
        self.error: BaseException | None = None


@final
class _Workers(Generic[Key, Value]):
    """Threads that take jobs in order; daemons, so that one that hangs does not hold the exit."""

    def __init__(self, function: Callable[[Key], Value], num_threads: int) -> None:
        self._function = function
        self._todo: SimpleQueue[_Job[Key, Value] | None] = SimpleQueue()
        self._done = threading.Condition()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{_THREAD_NAME}-{number}", daemon=True)
            for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()
        # Calls into C libraries must not run on while the interpreter takes itself apart.
        atexit.register(self.close)

    def submit(self, key: Key) -> "_Job[Key, Value]":
        job = _Job[Key, Value](key)
        self._todo.put(job)
        return job

    def take(self, job: "_Job[Key, Value]", watch: Watch | None) -> Value:
        """Return a job's value when it is there, or raise what its call raised."""
        if watch is None:
            self._wait(job, None)
        else:
            start = time.monotonic()
            waited_s = 0.0
            patience = watch.patience
            while not self._wait(job, min(patience.warning_s, patience.timeout_s - waited_s)):
                waited_s = time.monotonic() - start
                _report(watch, waited_s)
        if job.error is None:
            return job.values.pop()
        try:
            raise job.error
        finally:
            # The error's traceback holds this frame; a circle would keep slides open.
            del job

    def close(self, wait_s: float = _JOIN_S) -> None:
        """Take no more jobs, and wait for those that are running."""
        self._is_closed = True
        for _ in self._threads:
            self._todo.put(None)
        deadline = time.monotonic() + wait_s
        for thread in self._threads:
            # The garbage collector may close a stream from one of its own threads.
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        atexit.unregister(self.close)

    def _wait(self, job: "_Job[Key, Value]", timeout_s: float | None) -> bool:
        with self._done:
            return self._done.wait_for(lambda: job.is_done, timeout_s)

    def _work(self) -> None:
        while (job := self._todo.get()) is not None and not self._is_closed:
            try:
                job.values.append(self._function(job.key))
            except BaseException as error:  # noqa: BLE001
                # Whoever takes the value gets it, in its turn.
                job.error = error
            with self._done:
                job.is_done = True
                self._done.notify_all()
            del job


def _report(watch: Watch, waited_s: float) -> None:
    what, seconds = watch.activities.longest()
    what = what or "a call that says nothing of itself"
    if waited_s >= watch.patience.timeout_s:
        raise _HungError(
            f"no sample for {waited_s:.0f} s: {what} has been going on for {seconds:.0f} s; look "
            "at that file and the disk or network that it is on, or give it more time"
        )
    logger.warning("no sample for %.0f s: %s takes %.0f s so far", waited_s, what, seconds)

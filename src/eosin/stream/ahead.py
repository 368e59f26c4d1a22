"""Read ahead with threads, in order and bounded: decoding and OpenCV release the GIL.

A call that never returns is reported with what it reads, and ends the stream after a while.
"""

import atexit
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
from eosin.names import get_logger
from eosin.stream.watch import Activities, Patience, watched

logger = get_logger(__name__)

Key = TypeVar("Key")
Value = TypeVar("Value")

_THREAD_NAME = "eosin-ahead"
_JOIN_S = 5.0
"""Seconds that the end of a stream waits for calls that are still running."""
_LEFT_JOIN_S = 0.5
"""The same where somebody has something more urgent to do, such as to save before it is killed."""
_ASK_EVERY_S = 0.1
"""Seconds between two questions whether a wait is left."""


@final
class Stop:
    """Ends a stream whose values another thread takes, also while that thread waits for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_asked = False
        self._end: Callable[[float], None] | None = None

    def ask(self, join_s: float = _JOIN_S) -> None:
        """End the stream, or see to it that it does not begin; the other thread gets an error.

        Args:
            join_s: Seconds that calls which are still running are waited for.
        """
        with self._lock:
            self._is_asked = True
            end = self._end
        if end is not None:
            end(join_s)

    def ends(self, end: Callable[[float], None]) -> None:
        """Take what ends the stream; it is called at once where the stop came before."""
        with self._lock:
            self._end = end
            is_late = self._is_asked
        if is_late:
            end(_JOIN_S)


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


@final
@dataclass(frozen=True, slots=True)
class Leaving:
    """How to leave a stream whose calls wait for another one."""

    end_other: Callable[[float], None]
    """Ends the other one; called before threads are waited for, with the seconds that they will."""
    is_asked: Callable[[], bool] | None = None
    """Asked now and then while a value is waited for; once it says yes, there are no more."""


def map_ahead(
    function: Callable[[Key], Value],
    keys: Iterable[Key],
    *,
    num_threads: int,
    depth: int,
    bound: ByteBound[Value] | None = None,
    watch: Watch | None = None,
    stop: Stop | None = None,
    leaving: Leaving | None = None,
) -> Generator[Value]:
    """Yield `function(key)` for each key in order, working up to `depth` keys ahead.

    With no threads each value is computed when it is asked for. Threads end with the generator:
    when it is exhausted, closed or collected, or when a call raises (the exception comes through).

    Args:
        function: Called from several threads at once.
        keys: What for; taken as they are needed.
        num_threads: Threads; 0 for none.
        depth: Keys ahead at most.
        bound: Fewer keys ahead when the values are large. What is running counts as the largest so
            far, so values that grow may exceed it by one a thread; the next is made in any case.
        watch: Who to name when a call does not return; without threads it is only reported.
        stop: For another thread than the one that takes the values; nothing without threads.
        leaving: Where calls wait for another stream; for values without a watch.

    Raises:
        StreamStalledError: If the next value is not there after the watch's patience, or will not
            come after a stop.
    """
    if num_threads == 0:
        with watched(watch.activities, watch.patience) if watch else nullcontext():
            yield from map(function, keys)
        return
    workers = _Workers(function, num_threads, bound, leaving)
    if stop is not None:
        stop.ends(workers.close)
    remaining = iter(keys)
    try:
        pending = deque(workers.submit(key) for key in islice(remaining, depth))
        while pending:
            job = pending.popleft()
            if leaving is not None and workers.leaves(job, leaving):
                return
            value = workers.take(job, watch)
            pending.extend(workers.submit(key) for key in islice(remaining, 1))
            yield value
    finally:
        workers.close()


@final
class _Job(Generic[Key, Value]):
    __slots__ = ("error", "is_done", "key", "num_bytes", "number", "values")

    def __init__(self, key: Key, number: int) -> None:
        self.key = key
        self.number = number
        self.num_bytes = 0
        self.is_done = False
        self.values: list[Value] = []
        """The value, once it is there."""
        self.error: BaseException | None = None


@final
class _Workers(Generic[Key, Value]):
    """Threads that take jobs in order; daemons, so that one that hangs does not hold the exit."""

    def __init__(
        self,
        function: Callable[[Key], Value],
        num_threads: int,
        bound: ByteBound[Value] | None,
        leaving: Leaving | None,
    ) -> None:
        self._function = function
        self._bound = bound
        self._leaving = leaving
        self._todo: SimpleQueue[_Job[Key, Value] | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._is_closed = False
        self._num_submitted = 0
        self._num_begun = 0
        self._num_taken = 0
        self._num_running = 0
        self._ready_bytes = 0
        self._largest_bytes = 1
        self._join_s = _JOIN_S
        self._threads = [
            threading.Thread(target=self._work, name=f"{_THREAD_NAME}-{number}", daemon=True)
            for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()
        # Calls into C libraries must not run on while the interpreter takes itself apart.
        atexit.register(self.close)

    def submit(self, key: Key) -> "_Job[Key, Value]":
        job = _Job[Key, Value](key, self._num_submitted)
        self._num_submitted += 1
        self._todo.put(job)
        return job

    def leaves(self, job: "_Job[Key, Value]", leaving: Leaving) -> bool:
        """Wait until a job is done; return whether its value is not waited for any more."""
        while not self._wait(job, _ASK_EVERY_S):
            if leaving.is_asked is not None and leaving.is_asked():
                self._join_s = _LEFT_JOIN_S
                return True
        return False

    def take(self, job: "_Job[Key, Value]", watch: Watch | None) -> Value:
        """Return a job's value when it is there, or raise what its call raised.

        Raises:
            StreamStalledError: If it does not come: its call hangs, or the workers were closed.
        """
        if watch is None:
            self._wait(job, None)
        else:
            start = time.monotonic()
            waited_s = 0.0
            patience = watch.patience
            while not self._wait(job, min(patience.warning_s, patience.timeout_s - waited_s)):
                waited_s = time.monotonic() - start
                if waited_s >= patience.timeout_s:
                    # A call that does not return: nobody waits for its thread either.
                    self._join_s = 0.0
                _report(watch, waited_s)
        if not job.is_done:
            raise StreamStalledError(
                "the stream was ended while a sample was waited for; begin it anew"
            )
        with self._changed:
            self._num_taken += 1
            self._ready_bytes -= job.num_bytes
            self._changed.notify_all()
        if job.error is None:
            return job.values.pop()
        try:
            raise job.error
        finally:
            # The error's traceback holds this frame; a circle would keep slides open.
            del job

    def close(self, join_s: float | None = None) -> None:
        """Take no more jobs, and wait for those that are running; once, whoever closes first."""
        join_s = self._join_s if join_s is None else join_s
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        for _ in self._threads:
            self._todo.put(None)
        if self._leaving is not None:
            self._leaving.end_other(join_s)
        deadline = time.monotonic() + join_s
        for thread in self._threads:
            # The garbage collector may close a stream from one of its own threads.
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        atexit.unregister(self.close)

    def _wait(self, job: "_Job[Key, Value]", timeout_s: float | None) -> bool:
        """Wait until a job is done, or never will be; return False after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: job.is_done or self._is_closed, timeout_s)

    def _work(self) -> None:
        while (job := self._todo.get()) is not None and self._begin(job):
            try:
                value = self._function(job.key)
                if self._bound is not None:
                    job.num_bytes = self._bound.size_of(value)
                job.values.append(value)
                del value
            except BaseException as error:  # noqa: BLE001
                # Whoever takes the value gets it, in its turn.
                job.error = error
            self._end(job)
            del job

    def _begin(self, job: "_Job[Key, Value]") -> bool:
        """Wait until there is room for the job's value; return False when nobody wants it."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room(job))
            self._num_begun += 1
            self._num_running += 1
            return not self._is_closed

    def _has_room(self, job: "_Job[Key, Value]") -> bool:
        if job.number > self._num_begun:
            # In order, or later values would fill the room that the next one needs.
            return False
        if self._bound is None or job.number == self._num_taken:
            return True
        made_bytes = (self._num_running + 1) * self._largest_bytes
        return self._ready_bytes + made_bytes <= self._bound.max_bytes

    def _end(self, job: "_Job[Key, Value]") -> None:
        with self._changed:
            self._num_running -= 1
            self._ready_bytes += job.num_bytes
            self._largest_bytes = max(self._largest_bytes, job.num_bytes)
            job.is_done = True
            self._changed.notify_all()


def _report(watch: Watch, waited_s: float) -> None:
    what, seconds = watch.activities.longest()
    what = what or "a call that says nothing of itself"
    if waited_s >= watch.patience.timeout_s:
        raise StreamStalledError(
            f"no sample for {waited_s:.0f} s: {what} has been going on for {seconds:.0f} s; look "
            "at that file and the disk or network that it is on, or give it more time"
        )
    logger.warning("no sample for %.0f s: %s takes %.0f s so far", waited_s, what, seconds)

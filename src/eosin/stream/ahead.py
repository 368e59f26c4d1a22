"""Read ahead with threads, in order and bounded: decoding and OpenCV release the GIL."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_THREAD_NAME = "eosin-ahead"


def map_ahead(
    function: Callable[[Key], Value], keys: Iterable[Key], *, num_threads: int, depth: int
) -> Iterator[Value]:
    """Yield `function(key)` for each key in order, working up to `depth` keys ahead.

    With no threads each value is computed when it is asked for. Threads end with the generator:
    when it is exhausted, closed or collected, or when a call raises (the exception comes through).
    """
    if num_threads == 0:
        yield from map(function, keys)
        return
    executor = ThreadPoolExecutor(num_threads, thread_name_prefix=_THREAD_NAME)
    pending: deque[Future[Value]] = deque()
    remaining = iter(keys)
    try:
        pending.extend(executor.submit(function, key) for key in islice(remaining, depth))
        while pending:
            value = pending.popleft().result()
            pending.extend(executor.submit(function, key) for key in islice(remaining, 1))
            yield value
    finally:
        # The garbage collector may close this generator from one of its own threads, which cannot
        # wait for itself; it ends as soon as its call does.
        is_own_thread = threading.current_thread().name.startswith(_THREAD_NAME)
        executor.shutdown(wait=not is_own_thread, cancel_futures=True)

import gc
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from eosin.errors import ConfigError, StreamStalledError
from eosin.stream import ahead
from eosin.stream.ahead import ByteBound, Leaving, Stop, Watch, map_ahead
from eosin.stream.watch import Activities, Patience


def alive():
    return [t for t in threading.enumerate() if t.name.startswith("eosin-ahead")]


def until(is_so):
    """Wait for threads, on a busy machine too; what they did is for the test to say."""
    deadline = time.monotonic() + 120
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.002)


def slow_when_even(key):
    if key % 2 == 0:
        time.sleep(0.002)
    return key * key


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_values_come_in_the_order_of_the_keys(num_threads):
    values = map_ahead(slow_when_even, range(20), num_threads=num_threads, depth=6)
    assert list(values) == [key * key for key in range(20)]
    assert alive() == []


def test_work_goes_ahead_up_to_the_depth_and_no_further():
    begun = []

    def begin(key):
        begun.append(key)
        return key

    values = map_ahead(begin, count(), num_threads=2, depth=5)
    assert next(values) == 0
    until(lambda: len(begun) >= 6)
    time.sleep(0.05)
    assert sorted(begun) == [0, 1, 2, 3, 4, 5]
    values.close()
    assert alive() == []


def test_without_threads_nothing_is_computed_before_it_is_asked_for():
    begun = []
    values = map_ahead(lambda key: begun.append(key) or key, count(), num_threads=0, depth=5)
    assert begun == []
    next(values)
    assert begun == [0]


@pytest.mark.parametrize("num_threads", [0, 2])
def test_an_exception_comes_through_after_the_values_before_it(num_threads):
    values = map_ahead(lambda key: 12 // (3 - key), range(9), num_threads=num_threads, depth=4)
    assert [next(values) for _ in range(3)] == [4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(values)
    assert alive() == []


def test_an_exception_in_the_keys_comes_through():
    def keys():
        yield 1
        raise LookupError("no more")

    values = map_ahead(slow_when_even, keys(), num_threads=2, depth=4)
    with pytest.raises(LookupError, match="no more"):
        list(values)
    assert alive() == []


def test_threads_end_when_the_values_are_dropped():
    values = map_ahead(slow_when_even, count(), num_threads=3, depth=9)
    next(values)
    assert len(alive()) == 3
    del values
    gc.collect()
    assert alive() == []


# Bytes


def most_bytes_ahead(sizes, *, num_threads, max_bytes):
    """Return the most bytes that were made or being made, beside what was taken."""
    held, most, lock = 0, 0, threading.Lock()

    def make(key):
        nonlocal held, most
        with lock:
            held += sizes[key]
            most = max(most, held)
        return np.zeros(sizes[key], np.uint8)

    bound = ByteBound(max_bytes, lambda value: value.nbytes)
    values = map_ahead(make, range(len(sizes)), num_threads=num_threads, depth=20, bound=bound)
    for number, value in enumerate(values):
        assert len(value) == sizes[number]
        time.sleep(0.001)
        with lock:
            held -= sizes[number]
    assert alive() == []
    return most


@pytest.mark.parametrize("num_threads", [1, 3])
def test_no_more_bytes_are_ahead_than_allowed_from_the_first_value_on(num_threads):
    # The one that the consumer holds counts until it asks for the next.
    assert 4000 < most_bytes_ahead([1000] * 60, num_threads=num_threads, max_bytes=5000) <= 6000


def test_values_of_many_sizes_stay_within_the_bound_but_for_those_that_grow():
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 1000, 150)]
    sizes[0] = 1000
    assert most_bytes_ahead(sizes, num_threads=3, max_bytes=5000) <= 6000
    # All small until a large one comes: each thread may have begun one that nobody expected.
    late = [10] * 30 + [2000] * 30
    assert most_bytes_ahead(late, num_threads=3, max_bytes=5000) <= 5000 + (3 + 1) * 2000


def test_a_value_above_the_bound_is_made_all_the_same():
    values = map_ahead(
        lambda key: key, range(5), num_threads=2, depth=8, bound=ByteBound(10, lambda _: 100)
    )
    assert list(values) == list(range(5))


# Calls that do not return


def watch_of(**patience):
    return Watch(Activities(), Patience(**patience))


def test_a_call_that_hangs_does_not_keep_the_others_from_ending():
    release, returned = threading.Event(), []
    watch = watch_of(warning_s=0.5, timeout_s=2.0)

    def call(key):
        with watch.activities.doing(f"call {key}"):
            if key == 3:
                release.wait(300)
            returned.append(key)
            return key

    values = map_ahead(call, count(), num_threads=3, depth=6, watch=watch)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StreamStalledError, match="call 3 has been going on"):
        next(values)
    assert 3 not in returned
    release.set()
    for thread in alive():
        thread.join(100)
    assert alive() == []


def test_a_call_that_is_slow_and_returns_changes_nothing():
    watch = watch_of(warning_s=0.02, timeout_s=120.0)

    def call(key):
        time.sleep(0.05)
        return key

    assert list(map_ahead(call, range(4), num_threads=2, depth=4, watch=watch)) == [0, 1, 2, 3]


@pytest.mark.parametrize("seconds", [(0.0, 1.0), (2.0, 1.0)])
def test_patience_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(ConfigError, match="warning_s"):
        Patience(warning_s=seconds[0], timeout_s=seconds[1])


def test_nested_activities_return_to_the_outer_one():
    activities = Activities()
    with activities.doing("outer"):
        with activities.doing("inner"):
            assert activities.longest()[0] == "inner"
        assert activities.longest()[0] == "outer"
    assert activities.longest() == ("", 0.0)


# A stop from another thread


def test_a_stop_wakes_the_thread_that_waits_for_a_call_that_hangs():
    release, stop, outcome = threading.Event(), Stop(), []

    def call(key):
        return key if key == 0 else release.wait(300)

    def take():
        try:
            list(map_ahead(call, range(4), num_threads=2, depth=2, stop=stop))
        except StreamStalledError as error:
            outcome.append(str(error))

    taker = threading.Thread(target=take, daemon=True)
    asker = threading.Thread(target=stop.ask, daemon=True)
    taker.start()
    asker.start()
    taker.join(100)
    was_awake = not taker.is_alive()
    release.set()
    for thread in (taker, asker):
        thread.join(100)
    assert was_awake
    assert ["was ended while a sample was waited for" in error for error in outcome] == [True]
    assert alive() == []


def test_a_stop_that_comes_first_lets_no_stream_begin():
    stop, watch = Stop(), watch_of(warning_s=1.0, timeout_s=120.0)
    stop.ask()
    with pytest.raises(StreamStalledError, match="was ended"):
        list(map_ahead(slow_when_even, range(4), num_threads=2, depth=2, watch=watch, stop=stop))
    assert alive() == []


def test_what_calls_wait_for_is_ended_before_they_are():
    release, num_alive = threading.Event(), []

    def end(join_s):
        num_alive.append(len(alive()))
        release.set()

    def call(key):
        return key if key == 0 else release.wait(300)

    values = map_ahead(call, count(), num_threads=1, depth=1, leaving=Leaving(end))
    next(values)
    values.close()
    assert num_alive == [1]
    assert alive() == []


def test_a_wait_that_is_left_ends_the_stream_and_hardly_waits_for_what_hangs():
    release, given_s = threading.Event(), []

    def call(key):
        return key if key == 0 else release.wait(300)

    leaving = Leaving(given_s.append, lambda: True)
    values = map_ahead(call, count(), num_threads=1, depth=1, leaving=leaving)
    found = list(values)
    was_hanging = len(alive())
    release.set()
    # A value that is there is no wait.
    assert found in ([0], [])
    assert was_hanging == 1
    assert given_s == [ahead._LEFT_JOIN_S]


def test_values_that_are_waited_for_come_where_nobody_leaves():
    asked = []

    def slow(key):
        until(lambda: asked)
        return key

    leaving = Leaving(lambda join_s: None, lambda: asked.append(True) or False)
    values = map_ahead(slow, range(2), num_threads=1, depth=1, leaving=leaving)
    assert list(values) == [0, 1]
    assert asked
    assert alive() == []


# The end of a process

PROGRAM = """
import sys, time
sys.path[:0] = [{tests!r}]
from made_slides import synthetic_pipeline
print("begun", flush=True)
for result in synthetic_pipeline(cycle=True, num_threads=3):
    if {ending!r} == "leave" and result.index == 20:
        break
    if {ending!r} == "hold" and result.index == 20:
        kept = iter(synthetic_pipeline(cycle=True, num_threads=3)); next(kept)
        break
    time.sleep(0.001)
print("done", flush=True)
"""


def start(ending):
    program = PROGRAM.format(tests=str(Path(__file__).parents[1]), ending=ending)
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ending", ["leave", "hold"])
def test_a_process_ends_though_a_stream_is_open(ending):
    with start(ending) as process:
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out.split(), err) == (0, ["begun", "done"], "")


def test_ctrl_c_ends_a_stream_with_its_threads():
    with start("never") as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")

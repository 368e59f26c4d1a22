import gc
import threading
import time
from itertools import count

import pytest

from eosin.stream.ahead import map_ahead


def alive():
    return [t for t in threading.enumerate() if t.name.startswith("eosin-ahead")]


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

import gc
import threading
from collections import Counter

import numpy as np
import pytest

from eosin.backends import SlideBackend, SyntheticBackend
from eosin.catalog import SlideEntry
from eosin.errors import NoPlaceError, SlideError, SlideOpenError, StreamStalledError
from eosin.stream.slides import SlideStore, StoreLimits
from eosin.tissue import HSVTissueDetector, TissueDetector
from made_slides import names


class CountingBackend(SlideBackend):
    """Counts what it opens; keeps no slide."""

    def __init__(self, backend):
        self.backend = backend
        self.opened = Counter()
        self.lock = threading.Lock()

    def open(self, path):
        with self.lock:
            self.opened[path] += 1
        return self.backend.open(path)


class SlowDetector(TissueDetector):
    """Counts masks; keeps its thread long enough for others to come by."""

    def __init__(self):
        self.num_masks = 0

    def detect(self, thumbnail, *, mpp):
        self.num_masks += 1
        threading.Event().wait(0.02)
        return np.ones(thumbnail.shape[:2], bool)


def store_of(num_slides=4, *, detector=None, max_open=2, max_bad=0.5, **settings):
    backend = CountingBackend(SyntheticBackend(**settings))
    store = SlideStore(
        [SlideEntry(path=name) for name in names(num_slides)],
        backend,
        detector or HSVTissueDetector(),
        limits=StoreLimits(max_open_slides=max_open, max_quarantined_fraction=max_bad),
    )
    return store, backend


def test_a_slide_is_opened_once_while_it_is_in_use():
    store, backend = store_of()
    assert all(store.get(1) is store.get(1) for _ in range(3))
    assert backend.opened == {"made://slide_1": 1}


def test_the_slide_that_was_not_used_for_longest_is_given_up():
    store, backend = store_of(max_open=2)
    for number in (0, 1, 0, 2, 0, 1):
        store.get(number)
    assert backend.opened == {"made://slide_0": 1, "made://slide_1": 2, "made://slide_2": 1}


def test_a_slide_that_is_given_up_stays_readable_for_who_has_it():
    store, _ = store_of(max_open=1)
    ready = store.get(0)
    store.get(1)
    store.close()
    assert ready.slide.read_region(0, 0, 0, 4, 4).shape == (4, 4, 3)


def test_closing_gives_up_all_and_later_use_opens_again():
    store, backend = store_of()
    store.get(0)
    store.close()
    store.get(0)
    assert backend.opened == {"made://slide_0": 2}


def test_threads_that_want_one_slide_compute_its_mask_once():
    detector = SlowDetector()
    store, _ = store_of(detector=detector)
    threads = [threading.Thread(target=store.get, args=(0,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert detector.num_masks == 1


def test_a_slide_that_fails_fails_the_same_way_again_without_being_opened():
    store, backend = store_of(failing=frozenset({"made://slide_2"}))
    messages = []
    for _ in range(3):
        with pytest.raises(SlideOpenError) as caught:
            store.get(2)
        messages.append(str(caught.value))
    assert messages == ["made://slide_2: was made to fail"] * 3
    assert backend.opened == {"made://slide_2": 1}
    assert store.quarantined == {"made://slide_2": "was made to fail"}


class Kept(TissueDetector):
    """Finds no tissue, and remembers nothing."""

    def detect(self, thumbnail, *, mpp):
        return np.zeros(thumbnail.shape[:2], bool)


def test_a_slide_without_tissue_is_quarantined_and_not_kept_open(monkeypatch):
    closed = []
    monkeypatch.setattr(
        "eosin.backends.synthetic.SyntheticSlide.close",
        lambda slide: closed.append(slide.info.path),
    )
    store, _ = store_of(detector=Kept())
    with pytest.raises(NoPlaceError, match="Kept finds no tissue on it"):
        store.get(0)
    assert closed == ["made://slide_0"]


def test_quarantine_keeps_no_traceback_and_so_no_slide():
    store, _ = store_of(detector=Kept())
    with pytest.raises(SlideError):
        store.get(0)
    gc.collect()
    assert store._quarantined[0].__traceback__ is None


def test_too_many_bad_slides_stop_the_stream_and_say_how_many():
    store, _ = store_of(6, failing=frozenset(names(6)), max_bad=0.4)
    for number in (0, 1):
        with pytest.raises(SlideOpenError):
            store.get(number)
    with pytest.raises(StreamStalledError, match=r"3 of 6 slides cannot be used.*made to fail"):
        store.get(2)


def test_one_bad_slide_never_is_too_many():
    store, _ = store_of(2, failing=frozenset({"made://slide_0"}), max_bad=0.0)
    with pytest.raises(SlideOpenError):
        store.get(0)
    assert store.get(1).tissue.mask.any()

"""Ctrl-C while many files are read: those that have not begun are not waited for."""

import os
import signal
import threading
import time

import pytest

from catalog.tables import entry
from eosin.backends import SyntheticBackend
from eosin.stream import state
from eosin.stream.state import digests_of
from eosin.stream.verify import verify_manifest
from made_slides import names, synthetic_pipeline

NUM_FILES = 300


class Stopping:
    """Stands for reading a file, slowly; the first one is when the user has enough."""

    def __init__(self) -> None:
        self.num_read = 0
        self._lock = threading.Lock()

    def read(self) -> None:
        with self._lock:
            self.num_read += 1
            is_first = self.num_read == 1
        if is_first:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)


def test_fingerprints_that_are_still_to_be_read_are_left(monkeypatch):
    """Row 21 of the faults: Ctrl-C waited for all files of the list."""
    stopping = Stopping()
    monkeypatch.setattr(state, "file_fingerprint", lambda _: stopping.read() or "0")
    with pytest.raises(KeyboardInterrupt):
        digests_of([entry(f"{n}.svs") for n in range(NUM_FILES)])
    assert stopping.num_read < NUM_FILES


def test_slides_of_a_manifest_that_are_still_to_be_read_are_left(tmp_path, monkeypatch):
    pipeline = synthetic_pipeline(NUM_FILES, manifest=tmp_path / "manifest", patches_per_slide=1)
    for _ in zip(range(3), pipeline, strict=False):
        pass
    pipeline.state_dict()
    stopping = Stopping()
    real = SyntheticBackend.open

    def slow(self, path):
        stopping.read()
        return real(self, path)

    monkeypatch.setattr(SyntheticBackend, "open", slow)
    with pytest.raises(KeyboardInterrupt):
        verify_manifest(
            tmp_path / "manifest", [entry(name) for name in names(NUM_FILES)], SyntheticBackend()
        )
    assert stopping.num_read < NUM_FILES

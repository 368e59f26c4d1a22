"""What eosin starts ends with it, even when it is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eosin.children import end_with_parent

LOADER = """
import os, sys, time, warnings
sys.path[:0] = [{tests!r}]
from dataclasses import dataclass
import torch
from torch.utils.data import DataLoader
from eosin.dataset import PatchDataset, PatchLoader, Workers
from eosin.filters import PatchFilter
from made_slides import synthetic_pipeline

@dataclass(frozen=True, kw_only=True)
class Doing(PatchFilter):
    what: str

    def accept(self, image):
        if self.what != "fill the queue":
            os.write(1, b"doing it\\n")
        while self.what == "be busy":
            pass
        if self.what == "hang":
            time.sleep(600)
        return True

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, start_method = sys.argv[1:]
    stream = synthetic_pipeline(6, cycle=True, num_lanes=2, patch_filter=Doing(what=what))
    if start_method == "of one's own":
        batches = iter(DataLoader(PatchDataset(stream), num_workers=2, batch_size=4))
    else:
        workers = Workers(num=2, start_method=start_method)
        batches = iter(PatchLoader(stream, batch_size=4, workers=workers))
    if what == "fill the queue":
        next(batches)
        os.write(1, b"doing it\\n" * 2)
    next(batches)
    time.sleep(600)
"""

PHANTOMS = """
import os, sys, time
from pathlib import Path
from eosin.phantom import folder

def hang(path, spec):
    os.write(1, b"doing it\\n")
    time.sleep(600)

folder.write_phantom = hang
if __name__ == "__main__":
    folder.write_phantoms(Path({tests!r}), num_slides=2, seed=0, num_workers=2)
"""


def children_end_with(program: str, folder: Path, *arguments: str) -> None:
    """Kill a program once two of its children are at work, and wait until they have ended too."""
    script = folder / "program.py"
    script.write_text(program.format(tests=str(Path(__file__).parent)))
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["doing it\n"] * 2
        process.kill()
        try:
            # Returns when the last child has closed its end of the pipe, which none would do by
            # itself.
            process.communicate(timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_busy_workers_of_a_loader_end_with_it(tmp_path: Path, start_method: str):
    """Row 21 of the faults: they lived on for more than 10 s after their parent was killed."""
    children_end_with(LOADER, tmp_path, "be busy", start_method)


@pytest.mark.parametrize("what", ["hang", "fill the queue"])
def test_workers_that_wait_for_a_file_or_a_queue_end_with_their_loader(tmp_path: Path, what: str):
    children_end_with(LOADER, tmp_path, what, "fork")


def test_workers_of_a_loader_of_ones_own_end_with_it(tmp_path: Path):
    children_end_with(LOADER, tmp_path, "be busy", "of one's own")


def test_processes_that_draw_phantoms_end_with_the_one_that_asked(tmp_path: Path):
    children_end_with(PHANTOMS, tmp_path)


def test_a_process_that_nobody_started_so_is_left_alone():
    before = threading.enumerate()
    end_with_parent()
    assert threading.enumerate() == before

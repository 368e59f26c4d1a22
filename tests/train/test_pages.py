import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eosin.train import pages
from eosin.train.pages import kept_pages

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# In a process of its own: what others have freed there would be used as well.
PROGRAM = """
import json, resource
import torch
from eosin.train.pages import kept_pages

def cleared(number):
    "Count the pages that the kernel clears while tensors are made and freed as in a step."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.zeros((40 + number % 3) * 2**20, dtype=torch.uint8)]
    for _ in range(4):
        kept.append(kept[-1] + 1)
    while kept:
        kept.pop() + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

before = min(cleared(number) for number in range(3))
with kept_pages(torch.device("cpu")):
    inside = [cleared(number) for number in range(12)]
    largest = resident()
# The fewest: a kernel may take pages that rest for a moment away from any process.
print(json.dumps([before, min(inside[6:]), largest - resident()]))
"""


class FakeLibc:
    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def mallopt(self, name: int, value: int) -> int:
        self.calls.append((name, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.calls.append((pad,))
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    fake = FakeLibc()
    monkeypatch.setattr(pages, "_glibc", lambda: fake)
    return fake


@pytest.mark.skipif(
    pages._glibc() is None or (HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text()),
    reason="needs glibc, and pages of the usual size",
)
def test_memory_that_was_freed_is_used_again_and_returned_at_the_end():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    before, inside, num_returned = json.loads(done.stdout)
    assert before > 50_000
    assert inside < before / 20
    assert num_returned > 25_000


def test_an_error_ends_it_too(libc: FakeLibc):
    with pytest.raises(ZeroDivisionError), kept_pages(torch.device("cpu")):
        1 / 0  # noqa: B018
    assert libc.calls == [(-4, 0), (-1, -1), (-4, 65536), (-1, 131072), (0,)]


def test_where_tensors_are_on_a_gpu_nothing_changes(libc: FakeLibc):
    with kept_pages(torch.device("cuda")):
        pass
    assert libc.calls == []


def test_a_libc_that_has_no_such_settings_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "_glibc", lambda: None)
    with kept_pages(torch.device("cpu")):
        assert torch.zeros(3).sum() == 0

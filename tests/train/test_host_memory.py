import ctypes
import platform
import subprocess
import sys

import pytest

from eosin.train.host_memory import keep_freed_memory

# In a process of its own: what is set stays set. It takes a few rounds to settle.
COUNT_FRESH_PAGES = """
import resource, sys
import torch
from eosin.train.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def fresh_pages(mode: str) -> int:
    command = [sys.executable, "-c", COUNT_FRESH_PAGES, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_comes_again_needs_no_fresh_pages():
    # 32 where a page has 2 MiB, 16,384 where it has 4 KiB.
    assert fresh_pages("keep") < 20 < fresh_pages("leave")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("no library may be opened")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not keep_freed_memory()

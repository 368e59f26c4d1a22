import resource
import sys
from pathlib import Path

import pytest
import torch

from eosin.train.pages import _glibc, kept_pages

NUM_BYTES = 64 * 2**20
PAGE_BYTES = resource.getpagesize()

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

needs_glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or _glibc() is None
    or (HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text()),
    reason="needs glibc, and pages of the usual size",
)


def pages_cleared() -> int:
    """Return how many pages the kernel clears for a tensor that is made and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(NUM_BYTES, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@needs_glibc
def test_memory_that_was_freed_is_used_again_until_the_end():
    with kept_pages(torch.device("cpu")):
        # More than once, as something small may take a bite of what was freed.
        again = min(pages_cleared() for _ in range(6))
    assert again < 100
    assert pages_cleared() > NUM_BYTES / PAGE_BYTES / 2


@needs_glibc
def test_an_error_ends_it_too():
    with pytest.raises(RuntimeError), kept_pages(torch.device("cpu")):
        raise RuntimeError
    pages_cleared()
    assert pages_cleared() > NUM_BYTES / PAGE_BYTES / 2


@needs_glibc
def test_where_tensors_are_on_a_gpu_nothing_changes():
    with kept_pages(torch.device("cuda")):
        pages_cleared()
        assert pages_cleared() > NUM_BYTES / PAGE_BYTES / 2

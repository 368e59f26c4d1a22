"""Memory that a step on a CPU frees stays with the process, for the next step to use.

By itself glibc gives each large tensor pages of its own and returns them when it is freed; the
kernel then has to clear half a million pages for every step of a ViT-S, a tenth of its time.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Source: glibc, malloc/malloc.h, and the default values of malloc/malloc.c.
_M_TRIM_THRESHOLD, _DEFAULT_TRIM_BYTES, _NEVER_TRIM = -1, 128 * 1024, -1
_M_MMAP_MAX, _DEFAULT_MMAP_MAX, _NO_MMAP = -4, 65536, 0


@contextmanager
def kept_pages(device: torch.device) -> Iterator[None]:
    """Keep the memory that the process frees until the end; then all that is free is returned.

    So the process stays as large as it was at its peak. Does nothing where tensors are not on the
    CPU, and where the C library is not glibc. Afterwards glibc has its usual limits, but no longer
    raises them by itself, nor has it those of MALLOC_ variables.
    """
    libc = _glibc() if device.type == "cpu" else None
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, _NO_MMAP)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
        libc.mallopt(_M_TRIM_THRESHOLD, _DEFAULT_TRIM_BYTES)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None

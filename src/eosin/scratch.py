"""Memory of a thread that is used again: fresh pages would cost more than what is done in them."""

import threading
from typing import final

import numpy as np
from jaxtyping import UInt8


@final
class Scratch(threading.local):
    """Bytes for one computation at a time, as many as it needs; each thread has its own.

    What is in them is good until the thread's next `reserve`.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def reserve(self, num_bytes: int) -> UInt8[np.ndarray, " num_bytes"]:
        """Return so many bytes, with anything in them."""
        if self._bytes.size < num_bytes:
            self._bytes = np.empty(num_bytes, np.uint8)
        return self._bytes[:num_bytes]

"""Safetensors files: the same bytes for the same tensors and header, under any name."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from eosin.reading import open_regular

_LENGTH_BYTES = 8


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a file to read its header and some of its tensors, on the CPU.

    Raises:
        OSError: If it cannot be opened, or is no regular file.
        SafetensorError: If it is damaged.
    """
    descriptor = open_regular(path)
    try:
        # The library takes no path that is not UTF-8; every open file has one that is.
        name = str(path) if str(path).isprintable() else f"/dev/fd/{descriptor}"
        with safe_open(name, framework="pt") as stored:
            yield stored
    finally:
        os.close(descriptor)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file by name, on the CPU.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        SafetensorError: If it is damaged.
    """
    with open_tensors(path) as stored:
        return {name: stored.get_tensor(name) for name in stored.offset_keys()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors by name, with texts in the header.

    Raises:
        SafetensorError: If the file cannot be written, such as on a full disk.
    """
    save_file(dict(tensors), path, metadata=dict(metadata))
    # The library writes the texts in an order that differs from process to process.
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        in_order = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(in_order) <= length:
            file.seek(_LENGTH_BYTES)
            file.write(in_order.ljust(length))

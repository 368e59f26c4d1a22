"""Tensors as a safetensors file with the same bytes for the same tensors and header."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

_LENGTH_BYTES = 8


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

"""Ways to damage a slide file: cut it off, or change bytes where it hurts."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile


class Damage(NamedTuple):
    """One damaged copy of a slide."""

    kind: str
    content: bytes


class Layout(NamedTuple):
    """Byte ranges (begin, end) of a TIFF's parts."""

    offsets: list[tuple[int, int]]
    byte_counts: list[tuple[int, int]]
    tiles: list[tuple[int, int]]


def find_layout(path: Path) -> Layout | None:
    """Return where a TIFF keeps its tile tables and tiles; None for other formats."""
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if page.is_tiled]
            pages += [sub for page in pages for sub in (page.pages or []) if page.subifds]
            tables: dict[str, list[tuple[int, int]]] = {"TileOffsets": [], "TileByteCounts": []}
            tiles = []
            for page in pages:
                for name, ranges in tables.items():
                    tag = page.tags[name]
                    size = tag.count * {3: 2, 4: 4, 13: 4, 16: 8}[int(tag.dtype)]
                    ranges.append((tag.valueoffset, tag.valueoffset + size))
                places = zip(page.dataoffsets, page.databytecounts, strict=True)
                tiles += [(begin, begin + size) for begin, size in places if size]
    except Exception:
        return None
    return Layout(tables["TileOffsets"], tables["TileByteCounts"], tiles) if tiles else None


def truncations(content: bytes, num: int) -> Iterator[Damage]:
    """Yield the file cut off at places from its first bytes to just before its end."""
    near_begin = num // 5
    for step in range(near_begin):
        yield Damage("truncated", content[: int(4 * 4**step) % len(content)])
    for step in range(num - near_begin):
        yield Damage("truncated", content[: len(content) * (step + 1) // (num - near_begin + 1)])


def changes(path: Path, content: bytes, num: int, seed: int) -> Iterator[Damage]:
    """Yield the file with some bytes changed: mostly tile tables and tiles, also anywhere."""
    rng = np.random.default_rng(seed)
    layout = find_layout(path)
    for number in range(num):
        changed = bytearray(content)
        kind = ("tile data", "offsets", "byte counts", "tile data", "anywhere")[number % 5]
        ranges = {
            "tile data": layout.tiles if layout else [],
            "offsets": layout.offsets if layout else [],
            "byte counts": layout.byte_counts if layout else [],
        }.get(kind) or [(0, len(content))]
        for _ in range(int(rng.integers(1, 200))):
            begin, end = ranges[int(rng.integers(len(ranges)))]
            changed[int(rng.integers(begin, end))] = int(rng.integers(256))
        yield Damage(f"changed: {kind}" if layout else "changed: anywhere", bytes(changed))

"""Damage one tile in many ways, for every codec, and see what each reader makes of it.

PYTHONPATH=tests .venv/bin/python tests/fuzz/damaged_tiles.py

prints the table of docs/robustness.md. A cell says what became of every region that needs the tile:
"refused" all of them, "right" to the pixel all of them, or "wrong" in so many of the cases.
"""

import io
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from eosin.backends import ImageBackend, OpenSlideBackend, SlideBackend, TiffBackend
from eosin.errors import SlideError
from made_slides import smooth_tissue

TILE_PX = 256
DAMAGED = 1
"""The tile that is damaged, of four."""

OFFSETS, BYTE_COUNTS = 324, 325


def grainy_tissue(seed: int) -> np.ndarray:
    """Draw a tile whose grain takes some kilobytes in every codec; each has another grain."""
    rng = np.random.default_rng(seed)
    image = smooth_tissue(TILE_PX, TILE_PX, seed).astype(np.int16)
    grain = rng.integers(-6 - 3 * seed, 7 + 3 * seed, image.shape)
    return np.roll(image + grain, 50 * seed, axis=0).clip(0, 255).astype(np.uint8)


TILES = [grainy_tissue(seed) for seed in range(4)]


def _jpeg(image: np.ndarray, *settings: int) -> bytes:
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85, *settings])[1].tobytes()


def _without_tables(data: bytes) -> tuple[bytes, bytes]:
    """Return what all tiles share, and what is left of this one."""
    begin, end = data.find(b"\xff\xdb"), data.find(b"\xff\xc0")
    codes, scan = data.find(b"\xff\xc4"), data.find(b"\xff\xda")
    shared = data[:2] + data[begin:end] + data[codes:scan] + b"\xff\xd9"
    return shared, data[:2] + data[end:codes] + data[scan:]


class Codec(NamedTuple):
    """How tiles are packed, and what a TIFF says of it."""

    name: str
    pack: Callable[[np.ndarray], bytes]
    compression: int
    photometric: str
    tables: bytes | None = None


CODECS = (
    Codec("JPEG", _jpeg, 7, "ycbcr"),
    Codec(
        "JPEG",
        lambda image: bytes(
            imagecodecs.jpeg8_encode(image, 85, colorspace="rgb", outcolorspace="rgb")
        ),
        7,
        "rgb",
    ),
    Codec("JPEG", lambda image: _jpeg(image, cv2.IMWRITE_JPEG_RST_INTERVAL, 5), 7, "ycbcr"),
    Codec("JPEG", lambda image: _jpeg(image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 7, "ycbcr"),
    Codec(
        "JPEG",
        lambda image: _without_tables(_jpeg(image))[1],
        7,
        "ycbcr",
        tables=_without_tables(_jpeg(TILES[0]))[0],
    ),
    Codec(
        "JPEG 2000",
        lambda image: bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", level=40)),
        33005,
        "rgb",
    ),
    Codec("LZW", lambda image: bytes(imagecodecs.lzw_encode(image.tobytes())), 5, "rgb"),
    Codec("deflate", lambda image: zlib.compress(image.tobytes()), 8, "rgb"),
    Codec("WebP", lambda image: bytes(imagecodecs.webp_encode(image, level=80)), 50001, "rgb"),
    Codec("none", lambda image: image.tobytes(), 1, "rgb"),
)


def _written(image: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, quality=85)
    return file.getvalue()


PICTURES = {
    "JPEG": lambda image: _written(image, "JPEG"),
    "PNG": lambda image: _written(image, "PNG"),
}


def _with(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _with_bytes_changed(data: bytes, other: bytes) -> bytes:
    rng, changed = np.random.default_rng(len(other)), bytearray(data)
    for at in rng.integers(len(data) // 4, len(data), 20):
        changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "cut off at 50 %": lambda data, other: data[: len(data) // 2],
    "cut off at 90 %": lambda data, other: data[: len(data) * 9 // 10],
    "byte count 10 less": lambda data, other: data[:-10],
    "second half zero": lambda data, other: _with(
        data, len(data) // 2, bytes(len(data) - len(data) // 2)
    ),
    "a hole of zeros": lambda data, other: _with(data, len(data) // 2, bytes(len(data) // 4)),
    "a marker in the middle": lambda data, other: _with(data, len(data) // 2, b"\xff\xc4"),
    "another tile's second half": lambda data, other: (
        data[: len(data) // 2] + other[len(other) // 2 :]
    ),
    "20 bytes changed": _with_bytes_changed,
}
"""By name, of the bytes of a tile and those of another."""

BY_CHANCE = ("another tile's second half", "20 bytes changed")
"""Damages of which a codec may see nothing; they are tried with every other tile."""

MISPLACED: dict[str, Callable[[list[int], list[int], int], None]] = {
    "offset 0": lambda offsets, counts, size: offsets.__setitem__(DAMAGED, 0),
    "offset in the header": lambda offsets, counts, size: offsets.__setitem__(DAMAGED, 4),
    "offset past the end": lambda offsets, counts, size: offsets.__setitem__(DAMAGED, size + 8),
    "offset near the end": lambda offsets, counts, size: offsets.__setitem__(DAMAGED, size - 100),
    "offset in the next tile": lambda offsets, counts, size: offsets.__setitem__(
        DAMAGED, offsets[DAMAGED + 1] + 100
    ),
    "byte count over the next tile": lambda offsets, counts, size: counts.__setitem__(
        DAMAGED, counts[DAMAGED] + 100
    ),
    "byte count larger than the file": lambda offsets, counts, size: counts.__setitem__(
        DAMAGED, 2**31 + 5
    ),
}
"""By name, of a level's offsets and byte counts, which are changed, and the size of the file."""


def write_tiles(path: Path, codec: Codec, tiles: list[bytes]) -> Path:
    """Write four packed tiles as a slide of one level."""
    extra = []
    if codec.tables is not None:
        extra = [(347, 7, len(codec.tables), codec.tables, True)]
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter(tiles),
            shape=(2 * TILE_PX, 2 * TILE_PX, 3),
            dtype=np.uint8,
            tile=(TILE_PX, TILE_PX),
            compression=codec.compression,
            photometric=codec.photometric,
            compressionargs={"outcolorspace": codec.photometric} if codec.compression == 7 else {},
            description="Aperio Image Library v1.0|MPP = 0.25",
            metadata=None,
            extratags=extra,
        )
    return path


def misplace(path: Path, change: Callable[[list[int], list[int], int], None]) -> None:
    """Change the offsets and byte counts of a slide."""
    with tifffile.TiffFile(path) as tiff:
        tags = [tiff.pages.first.tags[code] for code in (OFFSETS, BYTE_COUNTS)]
        values = [list(tag.value) for tag in tags]
    content = bytearray(path.read_bytes())
    change(values[0], values[1], len(content))
    for tag, numbers in zip(tags, values, strict=True):
        form = {3: "<4H", 4: "<4I"}[int(tag.dtype)]
        most = 2 ** (16 if form == "<4H" else 32) - 1
        struct.pack_into(form, content, tag.valueoffset, *(min(n, most) for n in numbers))
    path.write_bytes(content)


def damaged_slides(folder: Path, codec: Codec) -> Iterator[tuple[str, Path]]:
    """Write a slide with each damage; yield what it is and where, and then take it away."""
    tiles = [codec.pack(tile) for tile in TILES]
    path = folder / "damaged.svs"
    for name, damage in DAMAGES.items():
        for other in tiles[:DAMAGED] + tiles[DAMAGED + 1 :] if name in BY_CHANCE else tiles[:1]:
            packed = list(tiles)
            packed[DAMAGED] = damage(tiles[DAMAGED], other)
            yield name, write_tiles(path, codec, packed)
            path.unlink()
    for name, change in MISPLACED.items():
        misplace(write_tiles(path, codec, tiles), change)
        yield name, path
        path.unlink()


WINDOWS = ((0, TILE_PX), (0, 20), (100, 60), (200, 56), (TILE_PX - 1, 1))
"""First row and number of rows of the tile, each read from a slide that was opened for it."""


def regions(backend: SlideBackend, path: Path, left: int) -> list[np.ndarray | None]:
    """Return windows of a tile and then a thumbnail; None for those that are refused."""
    found: list[np.ndarray | None] = []
    for top, rows in WINDOWS:
        try:
            with backend.open(path) as slide:
                found.append(slide.read_region(left, top, 0, TILE_PX, rows))
        except SlideError:
            found.append(None)
    for max_px in (TILE_PX, TILE_PX // 4):
        try:
            with backend.open(path) as slide:
                found.append(slide.thumbnail(max_px))
        except SlideError:
            found.append(None)
    return found


def verdict(found: list[np.ndarray | None], right: list[np.ndarray | None]) -> str:
    """Say what became of the regions of a damaged tile."""
    if all(one is None for one in found):
        return "refused"
    same = [
        one is None or (truth is not None and np.array_equal(one, truth))
        for one, truth in zip(found, right, strict=True)
    ]
    if not all(same):
        return "wrong"
    return "refused or right" if any(one is None for one in found) else "right"


def tabulate(readers: dict[str, SlideBackend]) -> dict[tuple[str, str], list[str]]:
    """Return verdicts by damage and by column, which is a reader and a codec."""
    verdicts: dict[tuple[str, str], list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for codec in CODECS:
            good = write_tiles(folder / "good.svs", codec, [codec.pack(tile) for tile in TILES])
            whole = {n: regions(reader, good, TILE_PX) for n, reader in readers.items()}
            for damage, path in damaged_slides(folder, codec):
                for reader, backend in readers.items():
                    if whole[reader][0] is None:  # it does not know the codec
                        continue
                    found = verdict(regions(backend, path, TILE_PX), whole[reader])
                    verdicts.setdefault((damage, f"{reader}: {codec.name}"), []).append(found)
        for kind, pack in PICTURES.items():
            good = folder / f"good.{kind.lower()}"
            good.write_bytes(pack(TILES[0]))
            right = regions(ImageBackend(), good, 0)
            for damage, change in DAMAGES.items():
                for other in TILES[1:] if damage in BY_CHANCE else TILES[1:2]:
                    path = folder / f"damaged.{kind.lower()}"
                    path.write_bytes(change(pack(TILES[0]), pack(other)))
                    found = verdict(regions(ImageBackend(), path, 0), right)
                    verdicts.setdefault((damage, f"picture: {kind}"), []).append(found)
    return verdicts


def cell(verdicts: list[str]) -> str:
    """Return verdicts in a word or two."""
    num_wrong = verdicts.count("wrong")
    if num_wrong:
        return "wrong" if len(verdicts) == 1 else f"wrong in {num_wrong} of {len(verdicts)}"
    return " or ".join(sorted(set(verdicts))) or "-"


def as_markdown(verdicts: dict[tuple[str, str], list[str]]) -> str:
    """Return the table."""
    columns = list(dict.fromkeys(column for _, column in verdicts))
    columns.sort(key=lambda column: ("direct", "OpenSlide", "picture").index(column.split(":")[0]))
    lines = [f"| damage | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for damage in (*DAMAGES, *MISPLACED):
        cells = [cell(verdicts.get((damage, column), [])) for column in columns]
        lines.append(f"| {damage} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(
        as_markdown(tabulate({"direct": TiffBackend(), "OpenSlide": OpenSlideBackend()})) + "\n"
    )

"""Change every header field of every page of TIFFs, one at a time, and count what happens.

PYTHONPATH=tests .venv/bin/python tests/fuzz/fuzz_headers.py [FILE ...] [--cases N]

Without files it makes some. Each case has a process of its own, which opens the slide, reads it
everywhere and streams it between two good slides, with a limit of 20 s and 4 GiB. Exits 1 if any
case crashed, hung, failed without a name, or changed a sample of a good slide.
"""

import argparse
import logging
import os
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tifffile

from fuzz.outcome import in_own_process, judge, samples_of
from made_slides import smooth_tissue, write_slide

TIME_LIMIT_S = 20.0
MEMORY_BYTES = 4 * 2**30
BAD = ("CRASHED", "HUNG", "UNNAMED", "CHANGED", "ENDED")

VALUES = (0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
TYPES = (0, 2, 5, 12, 99)
"""None, text, ratio, floating point, and one that does not exist."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


class Change(NamedTuple):
    """Bytes of a file that are replaced."""

    field: str
    what: str
    at: int
    new: bytes


def header_changes(path: Path) -> Iterator[Change]:
    """Yield every change of a header field of a TIFF."""
    content_size = path.stat().st_size
    with tifffile.TiffFile(path) as tiff:
        order, is_big = tiff.byteorder, tiff.is_bigtiff
        pages = [page.aspage() for page in tiff.pages]
        pages += [sub.aspage() for page in pages for sub in (page.pages or ()) if page.subifds]
        wide = "Q" if is_big else "I"
        beyond = (0, content_size - 2, content_size + 2**20, 2**32 - 1)
        first_at = 8 if is_big else 4
        for place in beyond:
            yield Change("first page", f"at {place}", first_at, struct.pack(order + wide, place))
        for number, page in enumerate(pages):
            name = f"page {number}"
            for tag in page.tags:
                field = f"{name} {tag.name}"
                yield from _tag_changes(field, tag, order, wide, content_size)
            entry_bytes = 20 if is_big else 12
            last = max(tag.offset for tag in page.tags) + entry_bytes
            for place in (*beyond, page.offset, pages[0].offset):
                yield Change(
                    f"{name} next page", f"at {place}", last, struct.pack(order + wide, place)
                )


def _tag_changes(
    field: str, tag: tifffile.TiffTag, order: str, wide: str, content_size: int
) -> Iterator[Change]:
    width = struct.calcsize(wide)
    yield Change(field, "left out", tag.offset, struct.pack(order + "H", 65000))
    for kind in TYPES:
        yield Change(field, f"type {kind}", tag.offset + 2, struct.pack(order + "H", kind))
    for count in {0, 1, tag.count + 1, 2**16, 2**31, 2**32 - 1} - {tag.count}:
        yield Change(field, f"count {count}", tag.offset + 4, struct.pack(order + wide, count))
    size = SIZES[int(tag.dtype)]
    is_elsewhere = size * tag.count > width
    if is_elsewhere:
        for place in (0, content_size - 2, 2**32 - 1):
            at = tag.offset + 4 + width
            yield Change(field, f"kept at {place}", at, struct.pack(order + wide, place))
    for value in dict.fromkeys(value % 2 ** (8 * min(size, 4)) for value in VALUES):
        little = value.to_bytes(min(size, 4), "little" if order == "<" else "big")
        at = tag.valueoffset + (size - 4 if order == ">" and size == 8 and tag.dtype == 16 else 0)
        yield Change(field, f"value {value}", at, little)


def run_cases(
    path: Path,
    changes: list[Change],
    good: list[Path],
    folder: Path,
    time_limit_s: float = TIME_LIMIT_S,
) -> Iterator[tuple[Change, str, float]]:
    """Yield what became of the file with each change, and how long it took in seconds."""
    expected = in_own_process(lambda: samples_of([good[0], path, good[1]]))
    assert isinstance(expected, list), expected
    damaged = folder / f"damaged{path.suffix}"
    damaged.write_bytes(path.read_bytes())
    file = os.open(damaged, os.O_RDWR)
    try:
        for change in changes:
            before = os.pread(file, len(change.new), change.at)
            if before == change.new:
                continue
            os.pwrite(file, change.new, change.at)
            begin = time.monotonic()
            outcome = in_own_process(
                lambda: judge(damaged, good, expected), time_limit_s, MEMORY_BYTES
            )
            yield change, str(outcome), time.monotonic() - begin
            os.pwrite(file, before, change.at)
    finally:
        os.close(file)
        damaged.unlink()


def made_pyramids(folder: Path) -> list[Path]:
    """Write pyramids of three levels: pages and SubIFDs, big and small, of either byte order."""
    image = smooth_tissue(700, 600, seed=3)
    made = []
    for name, settings, compression in (
        ("jpeg.tif", {}, "jpeg"),
        ("lzw.tif", {"byteorder": ">"}, "lzw"),
        ("big.tif", {"bigtiff": True}, "jpeg"),
        ("subifds.tif", {}, "jpeg"),
        ("jpeg2000.svs", {}, "aperio_jp2000_rgb"),
    ):
        path = folder / name
        with tifffile.TiffWriter(path, **settings) as tiff:
            for number, downsample in enumerate((1, 2, 4)):
                size = (image.shape[1] // downsample, image.shape[0] // downsample)
                are_subifds = name == "subifds.tif"
                tiff.write(
                    cv2.resize(image, size, interpolation=cv2.INTER_AREA),
                    tile=(128, 128),
                    photometric="rgb",
                    compression=compression,
                    subfiletype=int(number > 0),
                    description="Aperio Image Library v1.0|MPP = 0.25" if "svs" in name else None,
                    resolution=(40000, 40000),
                    resolutionunit="CENTIMETER",
                    metadata=None,
                    **({"subifds": 2} if are_subifds and number == 0 else {}),
                )
        made.append(path)
    return made


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--cases", type=int, default=0, help="of each file, drawn; all if 0")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    counts: Counter[tuple[str, str]] = Counter()
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = [
            write_slide(folder / f"good{n}.svs", smooth_tissue(700, 600, seed=n)) for n in range(2)
        ]
        for path in arguments.files or made_pyramids(folder):
            changes = list(header_changes(path))
            if 0 < arguments.cases < len(changes):
                rng = np.random.default_rng(0)
                drawn = sorted(rng.choice(len(changes), arguments.cases, replace=False).tolist())
                changes = [changes[number] for number in drawn]
            for change, outcome, seconds in run_cases(path, changes, good, folder):
                counts[path.name, outcome.split(":")[0]] += 1
                slowest = max(slowest, (seconds, f"{path.name}: {change.field} {change.what}"))
                if outcome.startswith(BAD) or seconds > TIME_LIMIT_S / 4:
                    print(
                        f"{path.name}: {change.field} {change.what}: {outcome} in {seconds:.1f} s",
                        flush=True,
                    )
            print(f"{path.name}: {len(changes)} cases", flush=True)
    print("\n| file | outcome | cases |\n|---|---|---|")
    for (file, outcome), number in sorted(counts.items()):
        print(f"| {file} | {outcome} | {number} |")
    bad = sum(number for (_, outcome), number in counts.items() if outcome.startswith(BAD))
    print(
        f"\n{counts.total()} cases; {bad} bad; the slowest took {slowest[0]:.1f} s ({slowest[1]})"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

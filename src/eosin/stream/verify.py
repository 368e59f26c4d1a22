"""Whether the patches of a manifest can still be read, and are what they were."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np

from eosin.backends.base import SlideBackend
from eosin.backends.patch import read_patch
from eosin.catalog.entry import SlideEntry
from eosin.errors import SlideError
from eosin.geometry import PatchCoordinate
from eosin.randomness import Purpose, rng_at
from eosin.stream.ahead import map_ahead
from eosin.stream.manifest import read_manifest
from eosin.stream.result import checksum

Verdict = Literal["ok", "pixels differ", "unreadable", "slide missing"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """One row of a manifest that was read again."""

    index: int
    slide: str
    verdict: Verdict
    detail: str = ""


def verify_manifest(
    folder: Path,
    entries: Sequence[SlideEntry],
    backend: SlideBackend,
    *,
    num_samples: int | None = 1000,
    seed: int = 0,
    num_threads: int = 4,
) -> tuple[Verified, ...]:
    """Read patches of a manifest again and compare their checksums.

    Slides are found by their content, whatever folder they are in now.

    Args:
        folder: Of the manifest.
        entries: The slides there are, as `eosin.catalog.list_slides` gives them.
        backend: Reads them; another reader may give other pixels.
        num_samples: Rows to look at, drawn at random; all when None.
        seed: Of that draw.
        num_threads: Slides that are read at the same time.

    Returns:
        One verdict a row, in the order of the samples.

    Raises:
        InputError: If the folder has no manifest.
    """
    table = read_manifest(folder)
    chosen = np.arange(table.num_rows)
    if num_samples is not None and num_samples < table.num_rows:
        rng = rng_at(seed, Purpose.HELD_OUT)
        chosen = np.sort(rng.choice(table.num_rows, num_samples, replace=False))
    rows: list[Mapping[str, object]] = table.take(chosen).to_pylist()
    by_slide: dict[str, list[Mapping[str, object]]] = {}
    for row in rows:
        by_slide.setdefault(str(row["fingerprint"]), []).append(row)
    # Not an executor: when it is left on Ctrl-C, it waits for all slides that have not begun.
    paths = _paths_by_content(entries, backend, num_threads)
    by_part = map_ahead(
        lambda content: _verify_slide(by_slide[content], paths.get(content), backend),
        by_slide,
        num_threads=num_threads,
        depth=2 * num_threads,
    )
    verdicts = [verdict for of_slide in by_part for verdict in of_slide]
    return tuple(sorted(verdicts, key=lambda verified: verified.index))


def _paths_by_content(
    entries: Sequence[SlideEntry], backend: SlideBackend, num_threads: int
) -> dict[str, str]:
    def content(entry: SlideEntry) -> str | None:
        if entry.fingerprint is not None:
            return entry.fingerprint
        try:
            with backend.open(entry.path) as slide:
                return slide.info.fingerprint
        except SlideError:
            return None

    found = map_ahead(content, entries, num_threads=num_threads, depth=2 * num_threads)
    return {
        fingerprint: entry.path
        for fingerprint, entry in zip(found, entries, strict=True)
        if fingerprint is not None
    }


def _verify_slide(
    rows: Sequence[Mapping[str, object]], path: str | None, backend: SlideBackend
) -> list[Verified]:
    if path is None:
        return [_verified(row, "slide missing", "no slide here has its content") for row in rows]
    with ExitStack() as stack:
        try:
            slide = stack.enter_context(backend.open(path))
        except SlideError as error:
            return [_verified(row, "unreadable", error.reason) for row in rows]
        verdicts = []
        for row in rows:
            try:
                pixels = read_patch(slide, _coordinate(row, path))
            except SlideError as error:
                verdicts.append(_verified(row, "unreadable", error.reason))
                continue
            crc = checksum(pixels)
            if crc == row["pixels_crc32"]:
                verdicts.append(_verified(row, "ok"))
            else:
                detail = f"CRC-32 is {crc:08x}, was {row['pixels_crc32']:08x}"
                verdicts.append(_verified(row, "pixels differ", detail))
        return verdicts


def _coordinate(row: Mapping[str, object], path: str) -> PatchCoordinate:
    def whole(name: str) -> int:
        return int(str(row[name]))

    return PatchCoordinate(
        slide_path=path,
        x=whole("x_l0"),
        y=whole("y_l0"),
        level=whole("level"),
        patch_size=whole("patch_size_px"),
        mpp=float(str(row["mpp"])),
        read_width=whole("read_width"),
        read_height=whole("read_height"),
    )


def _verified(row: Mapping[str, object], verdict: Verdict, detail: str = "") -> Verified:
    return Verified(
        index=int(str(row["index"])), slide=str(row["slide"]), verdict=verdict, detail=detail
    )

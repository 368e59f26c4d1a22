"""Which files are slides, and what identifies the content of one."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from eosin.errors import InputError

SLIDE_SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".dcm"}
)
"""File names that are taken for slides when a folder is given (those that OpenSlide may read)."""

_EDGE_BYTES = 65536
_NUM_SAMPLES = 16
_SAMPLE_BYTES = 4096


def find_slides(slides: Path | str | Sequence[Path | str]) -> list[str]:
    """Return the slides of a folder (all below it, sorted), or the files of a list as they stand.

    Files inside a folder are chosen by their suffix; a file that is named is taken at its word.
    A path that holds `://` belongs to a reader of its own and is passed on.

    Raises:
        InputError: If a path does not exist, or nothing is found.
    """
    given = [slides] if isinstance(slides, Path | str) else list(slides)
    found: list[str] = []
    for path in given:
        found.extend(_expand(path))
    if not found:
        where = ", ".join(str(path) for path in given) or "an empty list"
        raise InputError(
            f"{where} has no slides; looked for files ending in {', '.join(sorted(SLIDE_SUFFIXES))}"
        )
    return list(dict.fromkeys(found))


def _expand(path: Path | str) -> list[str]:
    if "://" in str(path):
        return [str(path)]
    where = Path(path)
    if where.is_dir():
        below = (p for p in where.rglob("*") if p.suffix.lower() in SLIDE_SUFFIXES)
        # Hidden ones are no slides: macOS leaves `._a.svs` beside every file on foreign disks.
        return sorted(str(p) for p in below if p.is_file() and not p.name.startswith("."))
    if not where.exists():
        raise InputError(f"{where} does not exist; give a slide or a folder of slides")
    return [str(where)]


def file_fingerprint(path: Path | str) -> str:
    """Return 16 hexadecimal digits of a file's size, its two ends and samples in between.

    Reads at most 192 KiB, so it is cheap on a slide of any size; the same content has the same
    fingerprint under any name.

    Raises:
        OSError: If the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_EDGE_BYTES))
        for sample in range(1, _NUM_SAMPLES + 1):
            file.seek(size * sample // (_NUM_SAMPLES + 1))
            digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, size - _EDGE_BYTES))
        digest.update(file.read(_EDGE_BYTES))
    return digest.hexdigest()[:16]

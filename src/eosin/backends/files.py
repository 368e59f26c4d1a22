"""Which files are slides, and what identifies the content of one."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from eosin.backends.source import ByteSource, open_source
from eosin.errors import InputError

SLIDE_SUFFIXES = frozenset(
    {
        ".svs",
        ".tif",
        ".tiff",
        ".ndpi",
        ".mrxs",
        ".vms",
        ".vmu",
        ".scn",
        ".bif",
        ".svslide",
        ".dcm",
        ".czi",
        ".zvi",
    }
)
"""File names that are taken for slides when a folder is given (those that OpenSlide may read)."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""Plain images; taken from a folder only when it holds no slide: pictures lie about anywhere."""

MASKS_SUFFIX = ".masks"
"""Of the folder in which a scan keeps masks beside its index; the pictures in it are no slides."""

_DICOM_HEADER_BYTES = 65536
_SERIES_UID_TAG = b"\x20\x00\x0e\x00UI"
"""(0020,000E) with its type, in the byte order that slide scanners write."""

_EDGE_BYTES = 65536
_NUM_SAMPLES = 16
_SAMPLE_BYTES = 4096


def find_slides(slides: Path | str | Sequence[Path | str]) -> list[str]:
    """Return the slides of a folder (all below it, sorted), or the files of a list as they stand.

    Files inside a folder are chosen by their suffix: slides, or images where it has no slide. The
    DICOM files of one series in one folder are one slide, named by the first of them. A file that
    is named is taken at its word. A path that holds `://` is passed on.

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
        below = [p for p in where.rglob("*") if not _is_passed_over(p, where)]
        slides = _one_of_each_series(_files_ending_in(SLIDE_SUFFIXES, below))
        return [str(p) for p in slides or _files_ending_in(IMAGE_SUFFIXES, below)]
    if not where.exists():
        raise InputError(f"{where} does not exist; give a slide or a folder of slides")
    return [str(where)]


def _files_ending_in(suffixes: frozenset[str], paths: Sequence[Path]) -> list[Path]:
    # By name first: folders hold many files that are none, and each look costs a journey.
    return sorted(path for path in paths if path.suffix.lower() in suffixes and path.is_file())


def _is_passed_over(path: Path, folder: Path) -> bool:
    # Hidden ones are no slides: macOS leaves `._a.svs` beside every file on foreign disks, and
    # desktops a `.Trash`.
    parts = path.parts[len(folder.parts) :]
    return any(part.startswith(".") or part.endswith(MASKS_SUFFIX) for part in parts)


def _one_of_each_series(paths: Sequence[Path]) -> list[Path]:
    """Keep the first DICOM file of every series in a folder, and everything that is no DICOM."""
    seen: set[tuple[Path, bytes]] = set()
    kept = []
    for path in paths:
        series = _series_uid(path) if path.suffix.lower() == ".dcm" else None
        if series is None or (path.parent, series) not in seen:
            kept.append(path)
        if series is not None:
            seen.add((path.parent, series))
    return kept


def _series_uid(path: Path) -> bytes | None:
    """Return which series a DICOM file belongs to; None when it does not say, or cannot be read."""
    try:
        with path.open("rb") as file:
            header = file.read(_DICOM_HEADER_BYTES)
    except OSError:
        return None
    at = header.find(_SERIES_UID_TAG)
    if at < 0:
        return None
    begin = at + len(_SERIES_UID_TAG) + 2
    length = int.from_bytes(header[begin - 2 : begin], "little")
    return header[begin : begin + length].rstrip(b"\0 ")


def file_fingerprint(path: Path | str) -> str:
    """Return the fingerprint of a file; see `source_fingerprint`.

    Raises:
        OSError: If the file cannot be read.
    """
    return source_fingerprint(open_source(path))


def source_fingerprint(source: ByteSource) -> str:
    """Return 16 hexadecimal digits of a file's size, its two ends and samples in between.

    Reads at most 192 KiB, so it is cheap on a slide of any size; the same content has the same
    fingerprint under any name.

    Raises:
        OSError: If the file cannot be read.
    """
    size = source.size
    digest = hashlib.sha256(str(size).encode())
    digest.update(source.read_at(0, _EDGE_BYTES))
    for sample in range(1, _NUM_SAMPLES + 1):
        digest.update(source.read_at(size * sample // (_NUM_SAMPLES + 1), _SAMPLE_BYTES))
    digest.update(source.read_at(max(0, size - _EDGE_BYTES), _EDGE_BYTES))
    return digest.hexdigest()[:16]

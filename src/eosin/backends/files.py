"""Which files are slides, and what identifies the content of one."""

import hashlib
import logging
import os
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eosin.backends.source import ByteSource, open_source
from eosin.errors import InputError
from eosin.names import escaped
from eosin.reading import exists, kind_of, open_regular, read_regular

logger = logging.getLogger(__name__)

SLIDE_SUFFIXES = frozenset(
    {
        *(".svs", ".tif", ".tiff", ".ptif", ".ptiff", ".qptiff", ".btf", ".tf2", ".tf8"),
        *(".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide"),
        *(".dcm", ".dicom", ".czi", ".zvi"),
    }
)
"""File names that are taken for slides when a folder is given (those that OpenSlide may read)."""

_CONVERT = "convert it to OME-TIFF, for instance with bfconvert"
UNREAD_SUFFIXES = {
    ".vsi": f"Olympus: OpenSlide does not read it; {_CONVERT}",
    ".ets": "pixels of an Olympus .vsi",
    ".isyntax": "Philips: OpenSlide does not read it; export it as TIFF",
    ".i2syntax": "Philips: OpenSlide does not read it; export it as TIFF",
    ".zarr": "OME-Zarr is not read; export it as OME-TIFF",
    ".lif": f"Leica: OpenSlide does not read it; {_CONVERT}",
    ".nd2": f"Nikon: OpenSlide does not read it; {_CONVERT}",
    ".kfb": "KFBio: OpenSlide does not read it; export it as SVS or TIFF",
    ".sdpc": "Teksray: OpenSlide does not read it; export it as SVS or TIFF",
    ".mds": "Motic: OpenSlide does not read it; export it as SVS or TIFF",
    ".mdsx": "Motic: OpenSlide does not read it; export it as SVS or TIFF",
    ".jp2": "JPEG 2000 is read inside TIFF only",
    ".afi": "Aperio: a list of fluorescence slides",
}
"""File names of slides and images that nothing here reads, with what to do about it."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""Plain images; taken from a folder only when it holds no slide: pictures lie about anywhere."""

MASKS_SUFFIX = ".masks"
"""Of the folder in which a scan keeps masks beside its index; the pictures in it are no slides."""

_MAX_COUNTED = 12
"""Suffixes, and files that cannot be opened, that a message names."""

_DICOM_HEADER_BYTES = 65536
_SERIES_UID_TAG = b"\x20\x00\x0e\x00UI"
"""(0020,000E) with its type, in the byte order that slide scanners write."""

_EDGE_BYTES = 65536
_NUM_SAMPLES = 16
_SAMPLE_BYTES = 4096
_CHUNK_BYTES = 2**22
"""Compared at once, of each of two files."""


def find_slides(slides: Path | str | Sequence[Path | str]) -> list[str]:
    """Return the slides of a folder (all below it, sorted), or the files of a list as they stand.

    Files inside a folder are chosen by their suffix: slides, or images where it has no slide. Those
    that are passed over are counted in a log message, by suffix. Folders that are linked are looked
    into as well, each folder once under whatever names it has. The DICOM files of one series in one
    folder are one slide, named by the first of them. A file that is named is taken at its word. A
    path that holds `://` is passed on.

    Raises:
        InputError: If a path does not exist, or nothing is found.
    """
    given = [slides] if isinstance(slides, Path | str) else list(slides)
    found: list[str] = []
    passed_over: list[tuple[str, bool]] = []
    for path in given:
        where = Path(path)
        if "://" in str(path):
            found.append(str(path))
        elif os.path.isdir(path):  # noqa: PTH112 - a name that no file can have is no error
            in_folder = _look_into(where)
            found.extend(map(str, in_folder.slides))
            if in_folder.passed_over:
                text = f"{escaped(str(where))}: passed over: {in_folder.passed_over}"
                passed_over.append((text, in_folder.has_unread))
        elif not os.path.lexists(path):
            raise InputError(
                f"{escaped(str(where))} does not exist; give a slide or a folder of slides"
            )
        elif not exists(path):
            raise InputError(f"{_why_no_file(where)}; give a slide or a folder of slides")
        else:
            found.append(str(where))
    if not found:
        where_all = ", ".join(escaped(str(path)) for path in given) or "an empty list"
        raise InputError(
            f"{where_all} has no slides; looked for files ending in "
            f"{', '.join(sorted(SLIDE_SUFFIXES))}" + "".join(f"; {text}" for text, _ in passed_over)
        )
    for text, is_grave in passed_over:
        logger.log(logging.WARNING if is_grave else logging.INFO, "%s", text)
    return list(dict.fromkeys(found))


class _InFolder(NamedTuple):
    slides: list[Path]
    passed_over: str
    """How many files of which suffix are no slides, and why where that is known."""
    has_unread: bool
    """Whether there may be slides among them."""


def _look_into(folder: Path) -> _InFolder:
    """Return the slides of a folder, and what else there is."""
    files, others = _files_below(folder)
    by_suffix: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_suffix[file.suffix.lower()].append(file)
    slides: list[Path] = []
    for suffixes in (SLIDE_SUFFIXES, IMAGE_SUFFIXES):
        if not slides:
            # By name first: folders hold many files that are none, and each look costs a journey.
            named = [file for suffix in suffixes for file in by_suffix.pop(suffix, [])]
            slides = [file for file in named if os.path.isfile(file)]  # noqa: PTH113
            others += [_why_no_file(file) for file in set(named).difference(slides)]
    # A folder that was linked and is gone looks like a file without a suffix.
    gone = [file for file in by_suffix.get("", []) if os.path.islink(file) and not exists(file)]  # noqa: PTH114
    by_suffix[""] = [file for file in by_suffix[""] if file not in gone]
    others += map(_why_no_file, gone)
    counts = sorted((-len(paths), suffix) for suffix, paths in by_suffix.items() if paths)
    # Slides in formats that nothing here reads are named however few they are.
    counts.sort(key=lambda count: count[1] not in UNREAD_SUFFIXES)
    texts = [_counted(suffix, -number) for number, suffix in counts[:_MAX_COUNTED]]
    if counts[_MAX_COUNTED:]:
        num_more = -sum(number for number, _ in counts[_MAX_COUNTED:])
        texts.append(f"{num_more} with other suffixes")
    texts += sorted(others)[:_MAX_COUNTED]
    if len(others) > _MAX_COUNTED:
        texts.append(f"{len(others) - _MAX_COUNTED} more that cannot be opened")
    return _InFolder(
        _one_of_each_series(sorted(slides)),
        ", ".join(texts),
        bool(others) or not by_suffix.keys().isdisjoint(UNREAD_SUFFIXES),
    )


def _counted(suffix: str, number: int) -> str:
    why = f" ({UNREAD_SUFFIXES[suffix]})" if suffix in UNREAD_SUFFIXES else ""
    return f"{number} {escaped(suffix) or 'without a suffix'}{why}"


def _why_no_file(path: Path) -> str:
    kind = kind_of(path)
    if kind:
        return f"{escaped(str(path))} ({kind}; only regular files are read)"
    try:
        target = escaped(str(path.readlink()))
        return f"{escaped(str(path))} (a link to {target}, which does not exist)"
    except OSError:
        return f"{escaped(str(path))} (cannot be looked at)"


def _files_below(folder: Path) -> tuple[list[Path], list[str]]:
    """Return all files below a folder by name, and what cannot be listed, in words.

    Real folders come before linked ones, so that a link changes nothing about what it leads to when
    that is below the folder anyway.
    """
    files: list[Path] = []
    problems: list[str] = []
    seen: set[tuple[int, int]] = set()
    roots = deque([folder])
    while roots:
        links = []
        for where, subfolders, names in os.walk(
            roots.popleft(), onerror=lambda error: problems.append(_told(error))
        ):
            here = Path(where)
            try:
                about = here.stat()
            except OSError as error:
                problems.append(_told(error))
                continue
            if (about.st_dev, about.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((about.st_dev, about.st_ino))
            for name in list(subfolders):
                if _is_hidden(name):
                    subfolders.remove(name)
                elif name.lower().endswith(".zarr"):
                    subfolders.remove(name)
                    files.append(here / name)
                elif (here / name).is_symlink():
                    links.append(here / name)
            shown = [here / name for name in names if not _is_hidden(name)]
            if exists(f"{here}.mrxs"):
                # What belongs to a slide that is listed is not passed over.
                shown = [file for file in shown if file.suffix.lower() not in (".dat", ".ini")]
            files += shown
        # Behind all that is really below the folder. What leads above it would never end.
        ground = folder.resolve()
        roots += [link for link in sorted(links) if not ground.is_relative_to(link.resolve())]
    return files, problems


def _is_hidden(name: str) -> bool:
    # Hidden ones are no slides: macOS leaves `._a.svs` beside every file on foreign disks, and
    # desktops a `.Trash`.
    return name.startswith(".") or name.endswith(MASKS_SUFFIX)


def _told(error: OSError) -> str:
    return f"{escaped(str(error.filename))} ({error.strerror})"


def _one_of_each_series(paths: Sequence[Path]) -> list[Path]:
    """Keep the first DICOM file of every series in a folder, and everything that is no DICOM."""
    seen: set[tuple[Path, bytes]] = set()
    kept = []
    for path in paths:
        series = _series_uid(path) if path.suffix.lower() in (".dcm", ".dicom") else None
        if series is None or (path.parent, series) not in seen:
            kept.append(path)
        if series is not None:
            seen.add((path.parent, series))
    return kept


def _series_uid(path: Path) -> bytes | None:
    """Return which series a DICOM file belongs to; None when it does not say, or cannot be read."""
    try:
        with open(open_regular(path), "rb") as file:  # noqa: PTH123 - a descriptor
            header = file.read(_DICOM_HEADER_BYTES)
    except OSError:
        return None
    at = header.find(_SERIES_UID_TAG)
    if at < 0:
        return None
    begin = at + len(_SERIES_UID_TAG) + 2
    length = int.from_bytes(header[begin - 2 : begin], "little")
    return header[begin : begin + length].rstrip(b"\0 ")


def have_same_content(one: Path | str, other: Path | str) -> bool:
    """Return whether two slides are the same to the last byte, with all files that they consist of.

    Reads both whole where they are, so it takes as long as to copy one. The files of a slide are
    found for MRXS, VMS and DICOM; any other is one file.

    Raises:
        OSError: If one cannot be read.
        MissingDependencyError: If a URL needs a package that is not installed.
    """
    parts, others = _parts(one), _parts(other)
    return len(parts) == len(others) and all(
        _are_same(*pair) for pair in zip(parts, others, strict=True)
    )


def _parts(path: Path | str) -> list[Path | str]:
    if "://" in str(path):
        return [path]
    slide = Path(path)
    match slide.suffix.lower():
        case ".mrxs":
            below = sorted(slide.with_suffix("").rglob("*"))
            return [slide, *(file for file in below if file.is_file())]
        case ".vms" | ".vmu":
            lines = read_regular(slide).decode("latin-1").splitlines()
            named = [slide.with_name(line.partition("=")[2].strip() or "=") for line in lines]
            return [slide, *(file for file in dict.fromkeys(named) if file.is_file())]
        case ".dcm" | ".dicom":
            series = _series_uid(slide)
            beside = sorted(slide.parent.glob(f"*{slide.suffix}"))
            return [
                slide,
                *(f for f in beside if series and f != slide and _series_uid(f) == series),
            ]
    return [slide]


def _are_same(one: Path | str, other: Path | str) -> bool:
    first, second = open_source(one), open_source(other)
    if first.version == second.version:
        return True  # two names of one file
    return first.size == second.size and all(
        first.read_at(at, _CHUNK_BYTES) == second.read_at(at, _CHUNK_BYTES)
        for at in range(0, first.size, _CHUNK_BYTES)
    )


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

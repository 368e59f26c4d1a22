"""Slides named by their content instead of their files, for what is passed on to others.

File names and folders often hold patient or case numbers. The key of a slide is made from the
fingerprint of its content, so whoever has the slides can find them again, and nobody else can.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import final

import numpy as np
from jaxtyping import UInt8

from eosin.backends.base import Slide, SlideBackend
from eosin.backends.files import file_fingerprint
from eosin.catalog.entry import PATIENT_COLUMN, SlideEntry
from eosin.errors import SlideError, SlideOpenError
from eosin.geometry import SlideInfo

_KEY = "slide-"


def slide_key(fingerprint: str) -> str:
    """Return the name of a slide that says nothing but which content it has."""
    return f"{_KEY}{fingerprint}"


def anonymous_slides(
    entries: Sequence[SlideEntry], backend: SlideBackend
) -> tuple[tuple[SlideEntry, ...], SlideBackend]:
    """Return the same slides under keys of their content, and what opens them by those keys.

    The order stays, and so do groups of patients, who are numbered. A second copy of the same
    content gets a key with a number. A file that cannot be read has no content to name it by, and
    is named by its place in the list. Columns other than the patient's stay, as slides may be
    weighted by them.

    Args:
        entries: As they were listed.
        backend: Opens them by their paths.
    """
    keys: dict[str, str] = {}
    num_of_key: Counter[str] = Counter()
    for number, entry in enumerate(entries, start=1):
        key = _key(entry, number)
        num_of_key[key] += 1
        keys[entry.path] = key if num_of_key[key] == 1 else f"{key}-copy{num_of_key[key]}"
    # All slides of a person keep one owner, also where only the file name says who it is.
    owners = {owner: n for n, owner in enumerate(dict.fromkeys(e.owner for e in entries), start=1)}
    renamed = tuple(
        replace(
            entry,
            path=keys[entry.path],
            metadata={**entry.metadata, PATIENT_COLUMN: f"patient-{owners[entry.owner]}"},
        )
        for entry in entries
    )
    paths = {key: path for path, key in keys.items()}
    return renamed, AnonymousBackend(backend=backend, paths=paths)


def without_names(left_out: Mapping[str, str]) -> dict[str, str]:
    """Return slides that are left out by number, without the reasons, which may name files too."""
    return {
        f"slide {number} that is left out": "see the index, or the list of slides"
        for number in range(1, len(left_out) + 1)
    }


class SlideNames:
    """What a page calls a slide that a run has recorded by its path, its file name or its key."""

    def __init__(self, entries: Sequence[SlideEntry], *, anonymous: bool) -> None:
        """Take the slides of a run as they were listed."""
        self._anonymous = anonymous
        self._names: dict[str, str] = {}
        for number, entry in enumerate(entries, start=1):
            if anonymous:
                key = _key(entry, number)
                self._names[entry.path] = key
                # Two files of one name in different folders cannot be told apart by it.
                is_new = self._names.get(entry.name, key) == key
                self._names[entry.name] = key if is_new else "one of several slides"
            elif entry.fingerprint is not None:
                self._names[slide_key(entry.fingerprint)] = entry.name

    def __call__(self, recorded: str) -> str:
        """Return the name to show: a key where the page is anonymous, else a file name."""
        name = PurePath(recorded).name
        shown = self._names.get(recorded) or self._names.get(name)
        if shown is None and self._anonymous and not name.startswith(_KEY):
            return "a slide that is not listed"
        return shown or name

    def without_paths(self, text: str) -> str:
        """Return a message with the names to show in place of paths."""
        for recorded in sorted(self._names, key=len, reverse=True) if self._anonymous else ():
            text = text.replace(recorded, self._names[recorded])
        return text


def _key(entry: SlideEntry, number: int) -> str:
    try:
        return slide_key(entry.fingerprint or file_fingerprint(entry.path))
    except (OSError, ValueError, ImportError, SlideError):
        return f"{_KEY}unreadable-{number}"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AnonymousBackend(SlideBackend):
    """Opens slides by their keys, and lets no path of theirs out."""

    backend: SlideBackend
    paths: Mapping[str, str]
    """Path of each slide by its key."""

    def open(self, path: Path | str) -> Slide:
        key = str(path)
        if key not in self.paths:
            raise SlideOpenError(key, "is not among the slides that were listed")
        real = self.paths[key]
        try:
            return _AnonymousSlide(self.backend.open(real), key, real)
        except SlideError as error:
            raise _without_path(error, key, real) from None


class _AnonymousSlide(Slide):
    """A slide under its key."""

    def __init__(self, slide: Slide, key: str, path: str) -> None:
        self._slide, self._key, self._path = slide, key, path
        self._info = replace(slide.info, path=key)

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        try:
            return self._slide.read_region(x, y, level, width, height)
        except SlideError as error:
            raise _without_path(error, self._key, self._path) from None

    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        try:
            return self._slide.thumbnail(max_px)
        except SlideError as error:
            raise _without_path(error, self._key, self._path) from None

    def close(self) -> None:
        self._slide.close()


def _without_path(error: SlideError, key: str, path: str) -> SlideError:
    return type(error)(key, error.reason.replace(path, key))

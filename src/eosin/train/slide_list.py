"""The slides of a run as text, with the columns that weigh them: a line each, to be searched."""

from collections.abc import Sequence
from pathlib import Path

from eosin.catalog import SlideEntry
from eosin.catalog.tcga import tcga_columns
from eosin.errors import InputError
from eosin.plain import to_json


def slide_list_text(entries: Sequence[SlideEntry]) -> str:
    """Return slides as a JSON list, with paths that hold in any working directory."""
    lines = [
        to_json(
            {
                "path": _absolute(entry.path),
                "metadata": dict(entry.metadata),
                "fingerprint": entry.fingerprint,
            }
        )
        for entry in entries
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def slides_of(listed: object, source: Path) -> tuple[SlideEntry, ...]:
    """Return the slides of such a list.

    In runs of earlier versions it held paths alone; their slides have the columns of their names.

    Args:
        listed: What the text holds.
        source: Where it is from, to be named.

    Raises:
        InputError: If it is no list of slides.
    """
    try:
        return tuple(map(_slide, listed if isinstance(listed, list) and listed else [None]))
    except (TypeError, KeyError) as error:
        raise InputError(f"{source} holds no list of slides") from error


def _slide(listed: object) -> SlideEntry:
    if isinstance(listed, str):
        return SlideEntry(path=listed, metadata=tcga_columns(listed))
    if not isinstance(listed, dict):
        raise TypeError
    path, metadata, fingerprint = listed["path"], listed["metadata"], listed["fingerprint"]
    values = (str, int, float, type(None))
    if not (
        isinstance(path, str)
        and isinstance(metadata, dict)
        and all(isinstance(value, values) for value in metadata.values())
        and isinstance(fingerprint, str | None)
    ):
        raise TypeError
    return SlideEntry(path=path, metadata=metadata, fingerprint=fingerprint)


def _absolute(path: str) -> str:
    """Return a path that holds everywhere; what a reader resolves itself stays."""
    return path if "://" in path else str(Path(path).absolute())

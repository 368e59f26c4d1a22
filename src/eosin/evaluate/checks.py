"""What must be known about labelled tiles before the numbers that are made with them.

Every tile is decoded once: those that cannot be are left out by name, and equal pixels are found
whatever the files are called and however they are packed.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from eosin.backends.image_files import ImageFileError, read_header
from eosin.catalog.entry import PATIENT_COLUMN
from eosin.catalog.tcga import tcga_columns
from eosin.errors import InputError
from eosin.evaluate.labelled import MAX_PIXELS, LabelledTiles
from eosin.reading import read_regular

_MAX_NAMED = 3

Tile = tuple[str, int]
"""A part, and the number of the tile in it."""


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CheckedTiles:
    """Tiles that can be read, and what is to be said about them."""

    parts: Mapping[str, LabelledTiles]
    warnings: tuple[str, ...]
    """One line each, with up to three names as they are; to be shown, `escaped`."""
    details: Mapping[str, object]
    """All names, as values that `json` writes."""


def check_tiles(
    folder: Path,
    parts: Mapping[str, LabelledTiles],
    on_tile: Callable[[], None] | None = None,
) -> CheckedTiles:
    """Decode every tile, leave out those that cannot be, and find what makes numbers wrong.

    Args:
        folder: What names are shown relative to.
        parts: By name, such as `train` and `test`; one alone may have any name.
        on_tile: Called after each tile.

    Raises:
        InputError: If a class has no tile that can be read.
    """
    found = _Findings(folder, parts)
    looked_at = _look_at_all(parts, found, on_tile)
    kept = looked_at.kept
    for part, tiles in parts.items():
        left = {int(tiles.labels[index]) for index in kept[part]}
        for label, class_name in enumerate(tiles.class_names):
            if label not in left:
                index = tiles.labels.tolist().index(label)
                raise InputError(
                    f"class {class_name} of {tiles.paths[index].parent.parent} has no tile that "
                    f"can be used: {tiles.paths[index].name} {looked_at.unreadable[part, index]}"
                )
    found.say(
        "unreadable",
        [f"{found.name(tile)} {why}" for tile, why in looked_at.unreadable.items()],
        "tiles that cannot be decoded and are left out",
        total=sum(map(len, parts.values())),
    )
    for kind in dict.fromkeys(kind for tiles in parts.values() for kind in tiles.passed_over):
        passed = [path for tiles in parts.values() for path in tiles.passed_over.get(kind, ())]
        found.say(f"passed over: {kind}", [_below(folder, path) for path in passed], kind)
    _say_copies(parts, looked_at, found)
    first, *others = parts
    patients = {part: _patients(tiles, kept[part]) for part, tiles in parts.items()}
    for other in others:
        found.say(
            f"patients in {first} and {other}",
            sorted(patients[first] & patients[other]),
            f"patients with tiles in both {first}/ and {other}/, which makes the numbers too good",
        )
    found.say(
        "orientation tags",
        looked_at.turned,
        "tiles with an orientation tag (EXIF), which is not applied",
    )
    found.say(
        "oblong",
        looked_at.oblong,
        "oblong tiles, of which the model gets what its processor makes: the middle, or all of it "
        "where both edges are asked for",
    )
    return CheckedTiles(
        parts={part: tiles.only(kept[part]) for part, tiles in parts.items()},
        warnings=tuple(found.warnings),
        details=found.details,
    )


class _Findings:
    """Collects what is to be said, with names."""

    def __init__(self, folder: Path, parts: Mapping[str, LabelledTiles]) -> None:
        self._folder, self._parts = folder, parts
        self.warnings: list[str] = []
        self.details: dict[str, object] = {}

    def name(self, tile: Tile) -> str:
        """Return the path of a tile below the folder."""
        return _below(self._folder, self._parts[tile[0]].paths[tile[1]])

    def say(
        self,
        what: str,
        names: Sequence[str],
        text: str,
        *,
        number: int | None = None,
        total: int | None = None,
    ) -> None:
        """Note all names under `what`, and some in a line; nothing where there are none.

        The line has the number of names, or another one, and of how many in all.
        """
        if names:
            self.details[what] = list(names)
            counted = f"{number or len(names):,}" + (f" of {total:,}" if total else "")
            more = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
            self.warnings.append(f"{text}: {counted} ({', '.join(names[:_MAX_NAMED])}{more})")


class _LookedAt(NamedTuple):
    """What decoding all tiles has shown."""

    kept: dict[str, list[int]]
    """Numbers of the tiles that can be read, by part."""
    unreadable: dict[Tile, str]
    copies: list[list[Tile]]
    """Tiles of equal pixels."""
    turned: list[str]
    oblong: list[str]


def _look_at_all(
    parts: Mapping[str, LabelledTiles], found: _Findings, on_tile: Callable[[], None] | None
) -> _LookedAt:
    looked_at = _LookedAt({part: [] for part in parts}, {}, [], [], [])
    same_pixels: dict[bytes, list[Tile]] = defaultdict(list)
    for part, tiles in parts.items():
        for index, path in enumerate(tiles.paths):
            if on_tile is not None:
                on_tile()
            try:
                pixels = tiles.read(index)
                header = read_header(io.BytesIO(read_regular(path)), max_pixels=MAX_PIXELS)
            except (InputError, ImageFileError, OSError) as error:
                why = str(error).removeprefix(f"{path} ")
                looked_at.unreadable[part, index] = why
                continue
            looked_at.kept[part].append(index)
            digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
            digest.update(pixels.tobytes())
            same_pixels[digest.digest()].append((part, index))
            if pixels.shape[0] != pixels.shape[1]:
                looked_at.oblong.append(found.name((part, index)))
            if header.orientation != 1:
                looked_at.turned.append(found.name((part, index)))
    looked_at.copies.extend(tiles for tiles in same_pixels.values() if len(tiles) > 1)
    return looked_at


def _say_copies(parts: Mapping[str, LabelledTiles], looked_at: _LookedAt, found: _Findings) -> None:
    """Say which tiles have equal pixels: across parts, within them, and across classes."""
    first, *others = parts
    for other in others:
        pairs = [
            f"{found.name(tile)} = {found.name(twins[0])}"
            for tiles in looked_at.copies
            if (twins := [tile for tile in tiles if tile[0] == first])
            for tile in tiles
            if tile[0] == other
        ]
        found.say(
            f"pixels in {first} and {other}",
            pairs,
            f"tiles of {other}/ that are in {first}/ as well, pixel for pixel, which makes the "
            "numbers too good",
            total=len(looked_at.kept[other]),
        )
    for part in parts:
        within = [
            [found.name(tile) for tile in tiles if tile[0] == part] for tiles in looked_at.copies
        ]
        repeated = [names for names in within if len(names) > 1]
        where = f" of {part}/" if others else ""
        found.say(
            f"copies{where}",
            [" = ".join(names) for names in repeated],
            f"tiles{where} that are copies of others",
            number=sum(len(names) - 1 for names in repeated),
        )
    found.say(
        "pixels in two classes",
        [
            " = ".join(map(found.name, tiles))
            for tiles in looked_at.copies
            if len({parts[part].class_names[parts[part].labels[index]] for part, index in tiles})
            > 1
        ],
        "pictures that are in two classes, of which one is wrong",
    )


def _below(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _patients(tiles: LabelledTiles, rows: Sequence[int]) -> set[str]:
    """Return the patients that TCGA barcodes at the beginning of names tell."""
    known = (tcga_columns(tiles.paths[row].name).get(PATIENT_COLUMN) for row in rows)
    return {str(patient) for patient in known if patient is not None}

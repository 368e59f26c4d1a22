"""Encoders on labelled tiles in `train/` and `test/` folders of class folders."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eosin.embed.encoder import Encoder
from eosin.embed.extract import embed_images
from eosin.errors import InputError
from eosin.evaluate.checks import check_tiles
from eosin.evaluate.comparison import ModelComparison, compare_models
from eosin.evaluate.labelled import LabelledFeatures, LabelledTiles, require_same_classes
from eosin.progress import progress_bar

_TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".xlsx"})


class TileSplit(NamedTuple):
    """Tiles to learn from and tiles to be tested on, of the same classes."""

    folder: Path
    train: LabelledTiles
    test: LabelledTiles


def list_tiles(data_dir: Path) -> TileSplit:
    """List tiles without reading them, to be refused before a model is opened.

    Args:
        data_dir: Holds `train/CLASS/*.png` and `test/CLASS/*.png`.

    Raises:
        InputError: If the folders are not there, or their classes differ.
    """
    missing = [part for part in ("train", "test") if not (data_dir / part).is_dir()]
    if missing and data_dir.is_dir():
        found = sorted(path.name for path in data_dir.iterdir() if path.is_dir())
        has = f"it holds {', '.join(found[:5])}" if found else "it holds no folder"
        raise InputError(
            f"{data_dir} has no folder {' and no folder '.join(missing)} ({has}); tiles belong "
            "into train/CLASS/ and test/CLASS/"
        )
    if data_dir.is_file():
        kind = "a table" if data_dir.suffix.lower() in _TABLE_SUFFIXES else "a file"
        raise InputError(
            f"{data_dir} is {kind}, and the classes of tiles are taken from folders, whatever "
            "separates the columns of a table; give the folder that holds train/CLASS/*.png and "
            "test/CLASS/*.png"
        )
    train, test = (LabelledTiles.from_folder(data_dir / part) for part in ("train", "test"))
    require_same_classes(data_dir, train, test)
    return TileSplit(data_dir, train, test)


def evaluate_tiles(encoders: Mapping[str, Encoder], tiles: TileSplit) -> ModelComparison:
    """Probe encoders on the same tiles.

    Every tile counts as a case of its own, so intervals are too narrow where several tiles are of
    one patient. Tiles that cannot be read are left out; `warnings` of the result says which, and
    what else is wrong with the tiles.

    Args:
        encoders: By name, baselines first.
        tiles: From `list_tiles`.

    Raises:
        InputError: If a class has no tile that can be read, or one is too small for an encoder.
    """
    listed = {"train": tiles.train, "test": tiles.test}
    with progress_bar("reading tiles", len(tiles.train) + len(tiles.test)) as bar:
        checked = check_tiles(tiles.folder, listed, bar.advance)
    train, test = checked.parts["train"], checked.parts["test"]
    parts = {
        name: (
            embed_tiles(encoder, train, f"{name}, train"),
            embed_tiles(encoder, test, f"{name}, test"),
        )
        for name, encoder in encoders.items()
    }
    note = f"{len(test)} tiles of {tiles.folder}, from {len(train)} others"
    comparison = compare_models(parts, note)
    return replace(comparison, warnings=checked.warnings, details=checked.details)


def embed_tiles(encoder: Encoder, tiles: LabelledTiles, title: str) -> LabelledFeatures:
    """Return class token ++ mean patch token of each tile with its label, showing progress.

    Raises:
        InputError: If a tile cannot be read, or is too small for what the encoder cuts out of it.
    """

    def images() -> Iterator[np.ndarray]:
        for index in range(len(tiles)):
            tile = tiles.read(index)
            try:
                prepared = encoder.prepare(tile)
            except InputError as error:
                raise InputError(f"{tiles.paths[index]}: {error}") from error
            yield prepared

    with progress_bar(title, len(tiles)) as bar:
        return tiles.with_features(embed_images(encoder, images(), on_batch=bar.advance))

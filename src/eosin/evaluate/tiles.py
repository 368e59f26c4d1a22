"""Encoders on labelled tiles in `train/` and `test/` folders of class folders."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eosin.embed.encoder import Encoder
from eosin.embed.extract import embed_images
from eosin.errors import InputError
from eosin.evaluate.comparison import ModelComparison, compare_models
from eosin.evaluate.labelled import LabelledFeatures, LabelledTiles, require_same_classes
from eosin.progress import progress_bar


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
    train, test = (LabelledTiles.from_folder(data_dir / part) for part in ("train", "test"))
    require_same_classes(data_dir, train, test)
    return TileSplit(data_dir, train, test)


def evaluate_tiles(encoders: Mapping[str, Encoder], tiles: TileSplit) -> ModelComparison:
    """Probe encoders on the same tiles.

    Every tile counts as a case of its own, so intervals are too narrow where several tiles are of
    one patient.

    Args:
        encoders: By name, baselines first.
        tiles: From `list_tiles`.

    Raises:
        InputError: If a tile cannot be read, or is not square.
    """
    folder, train, test = tiles
    parts = {
        name: (
            embed_tiles(encoder, train, f"{name}, train"),
            embed_tiles(encoder, test, f"{name}, test"),
        )
        for name, encoder in encoders.items()
    }
    return compare_models(parts, f"{len(test)} tiles of {folder}, from {len(train)} others")


def embed_tiles(encoder: Encoder, tiles: LabelledTiles, title: str) -> LabelledFeatures:
    """Return class token ++ mean patch token of each tile with its label, showing progress.

    Raises:
        InputError: If a tile cannot be read, or is not square.
    """

    def images() -> Iterator[np.ndarray]:
        for index in range(len(tiles)):
            tile = tiles.read(index)
            if tile.shape[0] != tile.shape[1]:
                raise InputError(
                    f"{tiles.paths[index]} is {tile.shape[1]} x {tile.shape[0]} px; cut tiles to "
                    "squares, since resizing would stretch them"
                )
            yield encoder.prepare(tile)

    with progress_bar(title, len(tiles)) as bar:
        return tiles.with_features(embed_images(encoder, images(), on_batch=bar.advance))

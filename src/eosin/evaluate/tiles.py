"""An encoder on labelled tiles in `train/` and `test/` folders of class folders."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eosin.atomic import write_atomic
from eosin.embed.encoder import Encoder
from eosin.embed.extract import embed_images
from eosin.errors import InputError
from eosin.evaluate.labelled import LabelledFeatures, LabelledTiles
from eosin.evaluate.probe import ProbeResult, probe
from eosin.progress import progress_bar
from eosin.transforms.resize import resize


def evaluate_tiles(encoder: Encoder, data_dir: Path, out: Path | None = None) -> list[ProbeResult]:
    """Probe an encoder on tiles, and write numbers and predictions to a JSON file if asked.

    Every tile counts as a case of its own, so intervals are too narrow where several tiles are of
    one patient.

    Raises:
        InputError: If the folders are not there, or a tile cannot be read.
    """
    parts = {name: LabelledTiles.from_folder(data_dir / name) for name in ("train", "test")}
    features = {name: embed_tiles(encoder, tiles, name) for name, tiles in parts.items()}
    results = probe(features["train"], features["test"])
    if out is not None:
        record = {
            "encoder": encoder.name,
            "weights_sha256": encoder.weights_sha256,
            "data_dir": str(data_dir),
            "results": [result.to_json() for result in results],
        }
        write_atomic(out, json.dumps(record, indent=1))
    return results


def embed_tiles(encoder: Encoder, tiles: LabelledTiles, title: str) -> LabelledFeatures:
    """Return class token ++ mean patch token of each tile with its label, showing progress."""
    size = encoder.input_size_px

    def images() -> Iterator[np.ndarray]:
        for index in range(len(tiles)):
            tile = tiles.read(index)
            if tile.shape[0] != tile.shape[1]:
                raise InputError(
                    f"{tiles.paths[index]} is {tile.shape[1]} x {tile.shape[0]} px; cut tiles to "
                    "squares, since resizing would stretch them"
                )
            yield np.asarray(resize(tile, size))

    with progress_bar(f"embedding {title} tiles", len(tiles)) as bar:
        return tiles.with_features(embed_images(encoder, images(), on_batch=bar.advance))


def describe_results(results: Sequence[ProbeResult]) -> str:
    """Return one line a probe, for people."""
    return "\n".join(
        f"{result.probe:8}accuracy {result.accuracy}  balanced {result.balanced_accuracy}  "
        f"({result.num_train} train, {len(result.targets)} test)"
        for result in results
    )

"""Asks the teacher for the classes of labelled tiles every so many steps.

folder/train/CLASS/*.png  and  folder/test/CLASS/*.png     test tiles are told by train tiles
folder/CLASS/*.png                                         each fold by the others
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from eosin.catalog.entry import PATIENT_COLUMN
from eosin.catalog.tcga import tcga_columns
from eosin.errors import ConfigError, InputError
from eosin.evaluate.checks import check_tiles
from eosin.evaluate.folds import grouped_folds
from eosin.evaluate.knn import Knn
from eosin.evaluate.labelled import LabelledTiles, require_same_classes
from eosin.models.image_processor import ImagePreparation
from eosin.names import escaped, get_logger
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import is_main_process
from eosin.watch.features import teacher_features
from eosin.watch.probes import Accuracies, cross_knn_accuracies, knn_accuracies
from eosin.watch.schedule import Looks

logger = get_logger(__name__)

KNN = Knn()
NUM_FOLDS = 5


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledSet:
    """Labelled tiles, all of one part, or a part that is known and one that is asked."""

    known: LabelledTiles
    asked: LabelledTiles | None
    """None where `folds` of `known` are asked in turn."""
    folds: Int64[np.ndarray, "_"] | None
    """Of the tiles of `known`, no patient cut; None where there is a part to be asked."""

    @classmethod
    def from_folder(cls, folder: Path, max_tiles: int) -> "LabelledSet":
        """List the tiles of a folder.

        Tiles whose name begins with a TCGA barcode are grouped by patient, others stand alone.

        Args:
            folder: Holds class folders, or `train` and `test` that do.
            max_tiles: Of each part; of more, the same ones are taken each time, of each
                class its share.

        Raises:
            InputError: If there are fewer than two classes, one without images, other classes
                in the two parts, or patients cannot be held out without their classes.
        """
        if not (folder / "train").is_dir():
            (known,) = _checked(folder, {"all": _thinned(_listed(folder), max_tiles)})
            if known.groups == tuple(map(str, known.paths)) and is_main_process():
                logger.warning(
                    "the tiles in %s do not say whose they are (by TCGA barcodes in their names): "
                    "those of one patient tell each other's class, and kNN looks better than it "
                    "is; part them into train/ and test/ by patient",
                    folder,
                )
            folds = grouped_folds(known.labels, known.groups, NUM_FOLDS, seed=0)
            if folds.max() == 0:
                raise InputError(
                    f"{folder}: no class has tiles of two patients, so none can be told by "
                    "others' tiles; add patients"
                )
            return cls(known=known, asked=None, folds=folds)
        parts = {part: _thinned(_listed(folder / part), max_tiles) for part in ("train", "test")}
        require_same_classes(folder, parts["train"], parts["test"])
        known, asked = _checked(folder, parts)
        return cls(known=known, asked=asked, folds=None)

    @property
    def num_tiles(self) -> int:
        """Tiles of all parts."""
        return len(self.known) + (0 if self.asked is None else len(self.asked))


@final
class LabelledWatch(Monitor):
    """Tells the classes of labelled tiles by their neighbours."""

    def __init__(self, tiles: LabelledSet, looks: Looks, *, size_px: int) -> None:
        """Watch labelled tiles.

        Args:
            tiles: Which ones; read when the run starts, and held.
            looks: When to look.
            size_px: Side that tiles are resized to.
        """
        self._tiles = tiles
        self._looks = looks
        self._size_px = size_px
        self._images: Tensor | None = None

    def run_started(self, first_step: int, num_steps: int) -> None:
        parts = [self._tiles.known, *([] if self._tiles.asked is None else [self._tiles.asked])]
        # As an encoder of the run prepares images; colours are normalised later.
        rule = ImagePreparation(input_size_px=self._size_px, mean=(0.0,) * 3, std=(1.0,) * 3)
        images = [rule.prepare(part.read(index)) for part in parts for index in range(len(part))]
        self._images = torch.from_numpy(np.stack(images))

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        if self._images is None or not self._looks.is_due(step):
            return {}
        look_start = time.perf_counter()
        features = teacher_features(model, self._images).joined.cpu().numpy()
        if not np.isfinite(features).all():
            return {}
        told = self._told(features)
        return {
            "watch_knn_accuracy": told.plain,
            "watch_knn_balanced_accuracy": told.balanced,
            "watch_labelled_s": time.perf_counter() - look_start,
        }

    def _told(self, features: np.ndarray) -> Accuracies:
        tiles = self._tiles
        known = tiles.known.with_features(features[: len(tiles.known)])
        if tiles.folds is not None:
            return cross_knn_accuracies(KNN, known, tiles.folds)
        assert tiles.asked is not None
        asked = tiles.asked.with_features(features[len(tiles.known) :])
        return knn_accuracies(KNN, known, asked)


def _listed(folder: Path) -> LabelledTiles:
    return LabelledTiles.from_folder(folder, group_of=_group)


def _group(path: Path) -> str:
    return str(tcga_columns(path.name).get(PATIENT_COLUMN) or path)


def _thinned(tiles: LabelledTiles, max_tiles: int) -> LabelledTiles:
    """Return at most so many tiles, of each class its share and at least one, spread evenly."""
    if max_tiles < len(tiles.class_names):
        raise ConfigError(
            f"labelled_max_tiles={max_tiles} must be at least the {len(tiles.class_names)} classes"
        )
    if len(tiles) <= max_tiles:
        return tiles
    # One of each class, then its share of the rest, so that no rare class is left out.
    num_classes = len(tiles.class_names)
    num_shared, num_others = max_tiles - num_classes, len(tiles) - num_classes
    chosen = []
    for label in range(num_classes):
        of_class = np.flatnonzero(tiles.labels == label)
        num_chosen = 1 + num_shared * (len(of_class) - 1) // num_others
        chosen.append(of_class[np.arange(num_chosen) * len(of_class) // num_chosen])
    return tiles.only(np.concatenate(chosen))


def _checked(folder: Path, parts: Mapping[str, LabelledTiles]) -> list[LabelledTiles]:
    """Return the tiles that can be read, and log what is wrong with them."""
    checked = check_tiles(folder, parts)
    if is_main_process():
        for line in checked.warnings:
            logger.warning("labelled tiles in %s: %s", folder, escaped(line))
    return list(checked.parts.values())

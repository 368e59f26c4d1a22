"""Labelled tiles in folders named like their classes, and labelled features.

train/AC/a.png     class AC
train/H/b.png      class H
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import cv2
import numpy as np
from jaxtyping import Float, Int64, UInt8

from eosin.backends.tiles import TileError, check_picture
from eosin.errors import ConfigError, InputError, system_reason
from eosin.reading import read_regular

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledFeatures:
    """Hold features with what is known of each sample; arrays are in the same order."""

    features: Float[np.ndarray, "samples dim"]
    labels: Int64[np.ndarray, "_"]
    """Index into `class_names`."""
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    """Tell samples apart, so that two models are compared on the same ones."""
    groups: tuple[str, ...]
    """Slide or patient of each sample: what intervals resample and what folds keep together."""

    def __post_init__(self) -> None:
        for name in ("labels", "names", "groups"):
            if len(getattr(self, name)) != len(self.features):
                raise ConfigError(
                    f"{len(getattr(self, name))} {name} for {len(self.features)} features: "
                    "give one a sample"
                )
        if len(self.features) == 0:
            raise ConfigError("there are no labelled features")
        if self.labels.min() < 0 or self.labels.max() >= len(self.class_names):
            raise ConfigError(
                f"labels range from {self.labels.min()} to {self.labels.max()}, but there are "
                f"{len(self.class_names)} classes: {', '.join(self.class_names)}"
            )
        broken = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
        if len(broken):
            raise InputError(
                f"{len(broken)} samples have features that are not finite, the first is "
                f"{self.names[broken[0]]}; embed them again, in float32 if this was float16"
            )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledTiles:
    """List tile images on disk with the class and the group of each."""

    paths: tuple[Path, ...]
    labels: Int64[np.ndarray, "_"]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]

    @classmethod
    def from_folder(
        cls, folder: Path, group_of: Callable[[Path], str] | None = None
    ) -> "LabelledTiles":
        """List the images of a folder of class folders, by class name, then file name.

        Args:
            folder: Holds one folder per class; hidden ones and loose files are left out.
            group_of: Tells the slide or patient from a tile's path. Without it each tile is its own
                group, and intervals are too narrow if several tiles are of one slide.

        Raises:
            InputError: If there are fewer than two classes, or one has no image.
        """
        class_folders = _visible(folder)
        if len(class_folders) < 2:
            raise InputError(
                f"{folder} has {len(class_folders)} class folders; tiles belong into two or more "
                "folders named like their classes, as in train/tumour/a.png"
            )
        paths: list[Path] = []
        labels: list[int] = []
        for label, class_folder in enumerate(class_folders):
            images = sorted(
                path for path in class_folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES
            )
            if not images:
                raise InputError(
                    f"{class_folder} has no image ({', '.join(sorted(IMAGE_SUFFIXES))}); "
                    "add tiles or remove the folder"
                )
            paths += images
            labels += [label] * len(images)
        return cls(
            paths=tuple(paths),
            labels=np.asarray(labels, dtype=np.int64),
            class_names=tuple(class_folder.name for class_folder in class_folders),
            groups=tuple(str(path) if group_of is None else group_of(path) for path in paths),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one tile as RGB; transparency is dropped.

        Raises:
            InputError: If the file is not an image that can be decoded.
        """
        try:
            content = read_regular(self.paths[index])
        except OSError as error:
            raise InputError(
                f"{self.paths[index]} cannot be read ({system_reason(error)})"
            ) from error
        if content.startswith(b"\xff\xd8"):
            try:
                check_picture(content)
            except TileError as error:
                raise InputError(f"{self.paths[index]}: {error}; replace it") from error
        encoded = np.frombuffer(content, dtype=np.uint8)
        bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
        if bgr is None:
            raise InputError(f"{self.paths[index]} cannot be decoded as an image; replace it")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def with_features(self, features: Float[np.ndarray, "samples dim"]) -> LabelledFeatures:
        """Join features, one row a tile in the order of `paths`, with the labels and groups."""
        return LabelledFeatures(
            features=features,
            labels=self.labels,
            class_names=self.class_names,
            names=tuple(str(path) for path in self.paths),
            groups=self.groups,
        )


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one that holds a folder per class")
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def require_same_classes(folder: Path, train: LabelledTiles, test: LabelledTiles) -> None:
    """Refuse two parts of a folder that have other classes.

    Raises:
        InputError: If one has a class that the other has not.
    """
    known, asked = set(train.class_names), set(test.class_names)
    only = [
        f"{', '.join(sorted(names))} only in {part}/"
        for part, names in (("train", known - asked), ("test", asked - known))
        if names
    ]
    if only:
        raise InputError(
            f"{folder} has the classes {' and '.join(only)}; give both the same class folders"
        )

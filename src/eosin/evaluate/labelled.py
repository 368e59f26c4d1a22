"""Labelled tiles in folders named like their classes, and labelled features.

train/AC/a.png     class AC
train/H/b.png      class H
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, Int64, UInt8

from eosin.backends.image_files import ImageFileError, read_pixels
from eosin.errors import ConfigError, InputError, system_reason
from eosin.reading import read_regular

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

MAX_PIXELS = 2**26
"""Of a tile; what has more was not cut yet."""

_SYSTEM_NAMES = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found"),
        *("$recycle.bin", "system volume information", "icon\r"),
    }
)
"""Files and folders that Windows, macOS and network storages leave, in small letters."""


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
    passed_over: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """What lies among the tiles and is none, by what it is."""

    @classmethod
    def from_folder(
        cls, folder: Path, group_of: Callable[[Path], str] | None = None
    ) -> "LabelledTiles":
        """List the images of a folder of class folders, by class name, then file name.

        Links are followed. What is no tile is passed over and noted: files without the suffix of an
        image, what other systems leave (`Thumbs.db`, `._a.png`, `__MACOSX`), and folders inside
        class folders, which are not looked into.

        Args:
            folder: Holds one folder per class.
            group_of: Tells the slide or patient from a tile's path. Without it each tile is its own
                group, and intervals are too narrow if several tiles are of one slide.

        Raises:
            InputError: If there are fewer than two classes, or one has no image.
        """
        passed_over: dict[str, list[Path]] = {}
        class_folders = _sorted(folder, _is_class_folder, passed_over)
        if len(class_folders) < 2:
            found = ": " + ", ".join(path.name for path in class_folders) if class_folders else ""
            raise InputError(
                f"{folder} has {len(class_folders)} class folders{found}; tiles belong into two or "
                "more folders named like their classes, as in train/tumour/a.png"
            )
        paths: list[Path] = []
        labels: list[int] = []
        for label, class_folder in enumerate(class_folders):
            images = _sorted(class_folder, _is_image, passed_over)
            if not images:
                has_folders = any(
                    path.parent == class_folder for path in passed_over.get(_FOLDER, ())
                )
                advice = (
                    "move the tiles up out of the folders in it" if has_folders else "add tiles"
                )
                raise InputError(
                    f"{class_folder} has no image ({', '.join(sorted(IMAGE_SUFFIXES))}); {advice} "
                    "or remove the folder"
                )
            paths += images
            labels += [label] * len(images)
        return cls(
            paths=tuple(paths),
            labels=np.asarray(labels, dtype=np.int64),
            class_names=tuple(class_folder.name for class_folder in class_folders),
            groups=tuple(str(path) if group_of is None else group_of(path) for path in paths),
            passed_over={kind: tuple(found) for kind, found in passed_over.items()},
        )

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, rows: Sequence[int] | Int64[np.ndarray, "_"]) -> "LabelledTiles":
        """Return some of the tiles, by their numbers."""
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[np.asarray(rows, dtype=np.int64)],
            groups=tuple(self.groups[row] for row in rows),
        )

    def read(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one tile as RGB, by the rule of `eosin.backends.image_files`.

        Raises:
            InputError: If the file is not an image that can be used.
        """
        path = self.paths[index]
        try:
            return read_pixels(io.BytesIO(read_regular(path)), max_pixels=MAX_PIXELS)
        except ImageFileError as error:
            raise InputError(
                f"{path} cannot be decoded as an image: it {error}; replace it"
            ) from error
        except OSError as error:
            raise InputError(f"{path} cannot be read ({system_reason(error)})") from error

    def with_features(self, features: Float[np.ndarray, "samples dim"]) -> LabelledFeatures:
        """Join features, one row a tile in the order of `paths`, with the labels and groups."""
        return LabelledFeatures(
            features=features,
            labels=self.labels,
            class_names=self.class_names,
            names=tuple(str(path) for path in self.paths),
            groups=self.groups,
        )


_HIDDEN = "hidden files, and what other systems leave, passed over"
_FOLDER = "folders inside class folders, not looked into"
_NO_IMAGE = "files without the suffix of an image, passed over"
_NO_FOLDER = "files beside the class folders, passed over"
_NOTHING = "links to nothing, and what is no regular file, passed over"


def _is_class_folder(path: Path) -> str | None:
    """Return why something beside class folders is none; None for one that is."""
    return None if path.is_dir() else _NO_FOLDER


def _is_image(path: Path) -> str | None:
    """Return why something in a class folder is no tile; None for a tile."""
    if path.is_dir():
        return _FOLDER
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return _NO_IMAGE
    return None if path.is_file() else _NOTHING


def _sorted(
    folder: Path, refuse: Callable[[Path], str | None], passed_over: dict[str, list[Path]]
) -> list[Path]:
    """Return what is wanted of a folder, sorted, and note the rest by what it is."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one that holds a folder per class")
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({system_reason(error)})") from error
    wanted = []
    for path in found:
        is_hidden = path.name.startswith(".") or path.name.lower() in _SYSTEM_NAMES
        kind = _HIDDEN if is_hidden else refuse(path)
        if kind is None:
            wanted.append(path)
        else:
            passed_over.setdefault(kind, []).append(path)
    return wanted


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

"""Albumentations' transforms among ours: seeded by the sample, settings stored as plain values."""

import functools
import importlib
import json
import os
import random
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import final

import numpy as np

from eosin.errors import ConfigError, MissingDependencyError
from eosin.transforms.base import Image, Transform
from eosin.transforms.parameters import Parameters, read_number

_OLDEST_MAJOR = 2
"""Version from which every transform takes its generators from outside."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AlbumentationsTransform(Transform):
    """Apply a transform of albumentations, or a composition of several.

    What is drawn is a seed, and the transform's generators start from it anew for each image. They
    are shared by all parts of a composition; under albumentations' own `seed=` each part has one
    that draws the same numbers, so that two flips of 50 % always happen together (2.0.8).

    Raises:
        MissingDependencyError: On first use, if albumentations is not installed.
        ConfigError: On first use, if another version of it wrote the settings.
    """

    settings: str
    """JSON of what `albumentations.to_dict` gives; `of` makes it."""
    size: int | None = None
    """Side of the results in pixels, where the transform gives squares of one size."""

    def __post_init__(self) -> None:
        try:
            parsed = json.loads(self.settings)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"settings={self.settings[:60]!r} are no JSON; "
                "make them with AlbumentationsTransform.of(transform)"
            ) from error
        if not isinstance(parsed, dict) or not {"__version__", "transform"} <= parsed.keys():
            raise ConfigError(
                f"settings={self.settings[:60]!r} are not what albumentations.to_dict gives; "
                "make them with AlbumentationsTransform.of(transform)"
            )

    @classmethod
    def of(cls, transform: object, *, size: int | None = None) -> "AlbumentationsTransform":
        """Return the adapter of a transform; its seed and state do not count."""
        written = _library().to_dict(transform)
        return cls(settings=json.dumps(written, sort_keys=True), size=size)

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        return {"seed": int(rng.integers(2**31))}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        seed = int(read_number(parameters, "seed"))
        # Albumentations' objects hold their generators, so threads must not share them.
        transform = _built(self.settings, threading.get_ident())
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))  # type: ignore[attr-defined]
        result = np.ascontiguousarray(transform(image=image.copy())["image"])  # type: ignore[operator]
        wanted = image.shape[:2] if self.size is None else (self.size, self.size)
        if result.shape[:2] != wanted:
            raise ConfigError(
                f"albumentations gave {result.shape[1]} x {result.shape[0]} px where "
                f"{wanted[1]} x {wanted[0]} were promised; give AlbumentationsTransform its size="
            )
        return result

    def size_after(self, parameters: Parameters, *, width: int, height: int) -> tuple[int, int]:
        return (width, height) if self.size is None else (self.size, self.size)


def _library() -> ModuleType:
    # It asks a server for newer versions on import otherwise.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        library = importlib.import_module("albumentations")
    except ImportError as error:
        raise MissingDependencyError(
            "AlbumentationsTransform needs 'albumentations': pip install 'albumentations>=2'"
        ) from error
    if int(library.__version__.split(".")[0]) < _OLDEST_MAJOR:
        raise MissingDependencyError(
            f"AlbumentationsTransform needs albumentations 2 or newer, and {library.__version__} "
            "is installed: pip install -U albumentations"
        )
    return library


@functools.lru_cache(maxsize=64)
def _built(settings: str, thread: int) -> object:
    library = _library()
    parsed = json.loads(settings)
    if parsed["__version__"] != library.__version__:
        raise ConfigError(
            f"the settings are of albumentations {parsed['__version__']}, and "
            f"{library.__version__} is installed, which may give other pixels; install the former, "
            "or make the settings anew"
        )
    built: object = library.from_dict(parsed)
    return built

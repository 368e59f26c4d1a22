"""One HDF5 file of features per slide, with where they came from.

    features    (N, 2D)  class token ++ mean of the patch tokens, what MIL code reads
    cls         (N, D)   the left half of it   } virtual datasets: read by name,
    patch_mean  (N, D)   the right half        } stored once
    coords      (N, 2)   level-0 px of each patch's top-left, x before y
    attributes           every field of `Provenance`, and `format`

Tools disagree silently on pooling; here both halves have names and the rule is an attribute.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float, Int64

from eosin import __version__
from eosin.atomic import atomic_file
from eosin.errors import ConfigError, InputError, MissingDependencyError, system_reason
from eosin.names import escaped, unescaped

try:
    import h5py
except ImportError as error:
    raise MissingDependencyError("feature files need 'h5py': pip install 'eosin[eval]'") from error

FORMAT = "eosin.features.1"
"""Marks a file as ours; the number changes when an older reader would misread a newer file."""

_SAYS_NOTHING_OF_FEATURES = frozenset({"slide_path", "eosin_version"})

POOLING = "features = class token ++ mean of patch tokens"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Say which slide, encoder and settings features came from."""

    slide_path: str
    """File name of the slide, or its key; without the folder, which may name a person."""
    slide_fingerprint: str
    """Identifies the slide by content, so that its folder may move."""
    encoder: str
    weights_sha256: str
    sampling: str
    """How patches were chosen, such as the text of the sampler and the tissue detector."""
    mpp: float
    """Microns per pixel of the patches that the encoder saw."""
    patch_size_px: int
    patch_size_l0: float
    """Side of a patch in level-0 px; a fraction where the slide was resampled."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """With `mean`, the normalization of pixels scaled to [0, 1]."""
    dtype: Literal["float32", "float16"] = "float32"
    pooling: str = POOLING
    eosin_version: str = __version__

    def matches(self, other: "Provenance") -> bool:
        """Return whether embedding again would give the same features, whatever path and version.

        A resumable embedding skips a slide whose stored provenance matches the one it would write.
        """
        return not self.differences(other)

    def differences(self, other: "Provenance") -> list[str]:
        """Return the names of the fields by which the features would be others."""
        names = (entry.name for entry in fields(self))
        return [
            name
            for name in names
            if name not in _SAYS_NOTHING_OF_FEATURES and getattr(self, name) != getattr(other, name)
        ]


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SlideFeatures:
    """Hold the features of one slide's patches; arrays are in the same order."""

    cls: Float[np.ndarray, "num_patches dim"]
    patch_mean: Float[np.ndarray, "_ _"]
    coords: Int64[np.ndarray, "_ 2"]
    """Level-0 px (x, y) of each patch's top-left."""
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.cls.shape != self.patch_mean.shape:
            raise ConfigError(
                f"cls {self.cls.shape} and patch_mean {self.patch_mean.shape} must be equally large"
            )
        if len(self.coords) != len(self.cls):
            raise ConfigError(
                f"{len(self.coords)} coords for {len(self.cls)} patches: give one (x, y) a patch"
            )
        dtypes = {str(self.cls.dtype), str(self.patch_mean.dtype)}
        if dtypes != {self.provenance.dtype}:
            raise ConfigError(
                f"features are {' and '.join(sorted(dtypes))} but the provenance says "
                f"{self.provenance.dtype}; cast them or change provenance.dtype"
            )

    @property
    def features(self) -> Float[np.ndarray, "num_patches dim2"]:
        """Return class token ++ mean of patch tokens, as stored."""
        return np.concatenate([self.cls, self.patch_mean], axis=1)


def write_features(path: Path, features: SlideFeatures) -> None:
    """Write one slide's file, whole or not at all; the same features give the same bytes.

    Raises:
        ConfigError: If something else than a feature file is at `path`.
        WriteError: If it cannot be written, such as on a full disk.
    """
    together = features.features
    num_patches, dim = features.cls.shape
    halves = {"cls": slice(0, dim), "patch_mean": slice(dim, 2 * dim)}
    with atomic_file(path, is_ours=is_features) as aside, h5py.File(aside, "w") as file:
        file.create_dataset("features", data=together)
        file.create_dataset("coords", data=features.coords)
        # "." is the file itself under whatever name it has, so that the rename breaks nothing.
        source = h5py.VirtualSource(".", "features", shape=together.shape)
        for name, columns in halves.items():
            layout = h5py.VirtualLayout((num_patches, dim), together.dtype)
            layout[:] = source[:, columns]
            # Otherwise the second of writing would be in the file, as it is not of other datasets.
            layout.dcpl.set_obj_track_times(False)
            file.create_virtual_dataset(name, layout)
        file.attrs["format"] = FORMAT
        for name, value in asdict(features.provenance).items():
            file.attrs[name] = escaped(value) if isinstance(value, str) else value


def read_features(path: Path) -> SlideFeatures:
    """Read one slide's file whole.

    Raises:
        InputError: If it is missing, no feature file, or damaged.
    """
    with _open(path) as file:
        provenance = _read_provenance(path, file)
        together = file["features"][:]
        dim = together.shape[1] // 2
        return SlideFeatures(
            cls=together[:, :dim],
            patch_mean=together[:, dim:],
            coords=file["coords"][:],
            provenance=provenance,
        )


def read_provenance(path: Path) -> Provenance:
    """Read where a file's features came from, without reading them.

    Raises:
        InputError: If it is missing, no feature file, or damaged.
    """
    with _open(path) as file:
        return _read_provenance(path, file)


def is_features(path: Path) -> bool:
    """Return whether a file is one that `write_features` wrote, and can be read as such."""
    try:
        read_provenance(path)
    except InputError:
        return False
    return True


def list_features(folder: Path) -> list[Path]:
    """List the feature files of a folder by name; files still being written are left out.

    Raises:
        InputError: If there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that features were written to")
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such feature file; embed the slide first")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ConfigError) as error:
        raise InputError(
            f"{path} cannot be read as a feature file ({system_reason(error)}); delete it "
            "and embed again"
        ) from error


def _read_provenance(path: Path, file: h5py.File) -> Provenance:
    found = file.attrs.get("format")
    if found != FORMAT:
        raise InputError(
            f"{path} is HDF5 but no feature file: its 'format' is {found!r}, not {FORMAT!r}"
        )
    values: dict[str, Any] = {
        entry.name: _plain(file.attrs[entry.name]) for entry in fields(Provenance)
    }
    return Provenance(**values)


def _plain(value: object) -> object:
    """Return an HDF5 attribute as the Python value that was written."""
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if isinstance(value, str):
        return unescaped(value)
    return value.item() if isinstance(value, np.generic) else value

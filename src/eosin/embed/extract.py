"""Features of whole slides: every patch of a grid through an encoder, one file a slide.

A slide whose file is there, made by the same encoder and settings, is not embedded again; so a run
that was stopped goes on, slide by slide.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, final

import numpy as np
from jaxtyping import Float, UInt8

from eosin.atomic import check_folder
from eosin.backends.base import Slide, SlideBackend
from eosin.backends.patch import read_patch
from eosin.embed.encoder import Encoder
from eosin.embed.store import (
    POOLING,
    Provenance,
    SlideFeatures,
    read_provenance,
    write_features,
)
from eosin.errors import (
    ConfigError,
    EosinError,
    InputError,
    NoPlaceError,
    SlideError,
    SlideOpenError,
    SlideReadError,
    system_reason,
)
from eosin.geometry import PatchCoordinate
from eosin.models.vit import Tokens
from eosin.plain import fingerprint
from eosin.sampling.grid import GridSampler
from eosin.stream.ahead import map_ahead
from eosin.tissue.base import TissueSource
from eosin.tissue.doubt import mask_note, no_tissue
from eosin.tissue.store import MaskStore
from eosin.transforms.base import Image


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """How slides are embedded."""

    backend: SlideBackend
    tissue_detector: TissueSource
    grid: GridSampler
    """Which patches; it should have a `target_mpp`."""
    batch_size: int = 64
    num_threads: int = 2
    """Threads that read patches ahead."""
    masks: MaskStore | None = None
    """Where tissue masks are kept; computed anew when None."""
    dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_threads < 0:
            raise ConfigError(
                f"batch_size={self.batch_size} must be at least 1 and num_threads="
                f"{self.num_threads} at least 0"
            )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SlideOutcome:
    """What became of one slide."""

    slide_path: str
    features_path: Path | None
    """None when the slide could not be embedded."""
    status: Literal["embedded", "already there", "failed"]
    num_unreadable: int = 0
    """Patches left out because their region could not be read."""
    reason: str = ""
    """Why it failed."""
    note: str = ""
    """Why its tissue mask should be looked at."""


def embed_slides(
    encoder: Encoder, slides: Sequence[str], out_dir: Path, extraction: Extraction
) -> Iterator[SlideOutcome]:
    """Embed slides one after another and yield what became of each; a bad one stops nothing.

    The file of `a/b.svs` is `out_dir/b.h5`. All files are looked at before the first slide is
    opened. A file of the same encoder and settings that is of another slide, such as one of the
    same name or one that has changed since, fails that slide and stays.

    Raises:
        InputError: If two slides would write the same file.
        ConfigError: If a file is there that is not eosin's, or is of another encoder or of other
            settings.
        WriteError: If nothing can be written to `out_dir`, or a disk is full.
    """
    check_folder(out_dir, "a folder of features")
    paths = _output_paths(slides, out_dir)
    for features_path in paths.values():
        _refuse_others(features_path, encoder, extraction)
    for slide_path, features_path in paths.items():
        try:
            _check_name(slide_path, features_path)
            yield _embed_slide(encoder, slide_path, features_path, extraction)
        except SlideError as error:
            yield SlideOutcome(
                slide_path=slide_path, features_path=None, status="failed", reason=error.reason
            )


def embed_images(
    encoder: Encoder,
    images: Iterable[Image],
    *,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Float[np.ndarray, "images features"]:
    """Return class token ++ mean of the patch tokens of each image, all of one size, float32."""
    rows = []
    remaining = iter(images)
    while batch := list(islice(remaining, batch_size)):
        cls, patch_mean = _pool(encoder(np.stack(batch)))
        rows.append(np.concatenate([cls, patch_mean], axis=1))
        if on_batch is not None:
            on_batch(len(batch))
    if not rows:
        raise InputError("there are no images to embed")
    return np.concatenate(rows)


def _embed_slide(
    encoder: Encoder, slide_path: str, features_path: Path, extraction: Extraction
) -> SlideOutcome:
    def prepare(path: str) -> tuple[Slide, list[PatchCoordinate], str | None]:
        source, masks = extraction.tissue_detector, extraction.masks
        try:
            slide = extraction.backend.open(path)
            tissue = source.tissue(slide) if masks is None else masks.tissue(slide, source)
            if tissue.is_empty:
                raise NoPlaceError(path, no_tissue(slide, source))
            places = extraction.grid.places(slide.info, tissue)
            return slide, places, mask_note(slide, tissue, source)
        except EosinError:
            raise
        except Exception as error:
            # A reader or detector that breaks on one slide must not stop the others.
            raise SlideOpenError(path, f"{type(error).__name__}: {error}") from error

    # In a thread: Ctrl-C reaches the main one only between calls into libraries, which may be long.
    num_threads = min(1, extraction.num_threads)
    with closing(map_ahead(prepare, [slide_path], num_threads=num_threads, depth=1)) as prepared:
        opened, places, note = next(prepared)
    with opened as slide:
        if not places:
            because = "" if note is None else f"; {note}"
            raise NoPlaceError(slide_path, f"no patch of the grid has enough tissue{because}")
        provenance = _provenance(encoder, slide, places[0], extraction)
        if features_path.exists():
            differing = read_provenance(features_path).differences(provenance)
            if differing:
                raise SlideError(
                    slide_path,
                    f"{features_path} holds features of another slide or state of it "
                    f"({', '.join(differing)} differ); remove it to embed again, or give another "
                    "folder",
                )
            return SlideOutcome(
                slide_path=slide_path, features_path=features_path, status="already there"
            )
        features, num_unreadable = _encode(encoder, slide, places, provenance, extraction)
    write_features(features_path, features)
    return SlideOutcome(
        slide_path=slide_path,
        features_path=features_path,
        status="embedded",
        num_unreadable=num_unreadable,
        note=note or "",
    )


def _encode(
    encoder: Encoder,
    slide: Slide,
    places: list[PatchCoordinate],
    provenance: Provenance,
    extraction: Extraction,
) -> tuple[SlideFeatures, int]:
    def read(place: PatchCoordinate) -> UInt8[np.ndarray, "size size 3"] | None:
        try:
            return read_patch(slide, place)
        except SlideReadError:
            return None

    images = map_ahead(
        read, places, num_threads=extraction.num_threads, depth=2 * extraction.batch_size
    )
    readable = (
        (place, image) for place, image in zip(places, images, strict=True) if image is not None
    )
    coords: list[tuple[int, int]] = []
    cls_rows, mean_rows = [], []
    while batch := list(islice(readable, extraction.batch_size)):
        coords += [(place.x, place.y) for place, _ in batch]
        cls, patch_mean = _pool(
            encoder(np.stack([image for _, image in batch if image is not None]))
        )
        with np.errstate(over="ignore"):  # looked at in the next line
            cls_rows.append(cls.astype(extraction.dtype))
            mean_rows.append(patch_mean.astype(extraction.dtype))
        if not (np.isfinite(cls_rows[-1]).all() and np.isfinite(mean_rows[-1]).all()):
            advice = "in float32" if extraction.dtype == "float16" else "with sound weights"
            raise SlideError(
                provenance.slide_path,
                f"the model's features are NaN or too large for {extraction.dtype}; embed {advice}",
            )
    if not coords:
        raise SlideReadError(
            provenance.slide_path, f"none of its {len(places)} patches can be read"
        )
    features = SlideFeatures(
        cls=np.concatenate(cls_rows),
        patch_mean=np.concatenate(mean_rows),
        coords=np.asarray(coords, np.int64),
        provenance=provenance,
    )
    return features, len(places) - len(coords)


def _pool(
    tokens: Tokens,
) -> tuple[Float[np.ndarray, "batch dim"], Float[np.ndarray, "batch dim"]]:
    """Return class tokens and means of patch tokens; registers belong to neither."""
    return tokens.cls.float().cpu().numpy(), tokens.patches.float().mean(1).cpu().numpy()


def _provenance(
    encoder: Encoder, slide: Slide, place: PatchCoordinate, extraction: Extraction
) -> Provenance:
    downsample = slide.info.levels[place.level].downsample
    source = extraction.tissue_detector
    # A mask that was drawn by hand may change while all settings stay.
    chosen_by = fingerprint([extraction.grid, source, source.content_key(slide)])
    return Provenance(
        slide_path=slide.info.path.rsplit("/", 1)[-1],
        slide_fingerprint=slide.info.fingerprint,
        encoder=encoder.name,
        weights_sha256=encoder.weights_sha256,
        sampling=f"{extraction.grid} {source} {chosen_by}",
        mpp=place.mpp,
        patch_size_px=place.patch_size,
        patch_size_l0=place.read_width * downsample,
        mean=encoder.mean,
        std=encoder.std,
        dtype=extraction.dtype,
    )


def _refuse_others(path: Path, encoder: Encoder, extraction: Extraction) -> None:
    """Refuse a file of others, or of another encoder or settings, as far as no slide is needed."""
    try:
        if not path.exists() and not path.is_symlink():
            return
        stored = read_provenance(path)
    except OSError:
        return  # its name is too long, which fails the one slide
    except InputError as error:
        raise ConfigError(
            f"{path} is there and is not a feature file that eosin wrote; give another folder, or "
            "move it away first"
        ) from error
    mine = {
        "encoder": encoder.name,
        "weights_sha256": encoder.weights_sha256,
        "mean": encoder.mean,
        "std": encoder.std,
        "dtype": extraction.dtype,
        "pooling": POOLING,
        "sampling": f"{extraction.grid} {extraction.tissue_detector}",
    }
    # The last word of it depends on the slide.
    theirs = {**asdict(stored), "sampling": stored.sampling.rpartition(" ")[0]}
    differing = []
    for name in mine:
        # Of long texts, only the settings in which they differ.
        before, now = (str(values[name]).split(", ") for values in (theirs, mine))
        was = ", ".join(word for word in before if word not in now)
        if before != now:
            differing.append(
                f"{name} was {was}, now {', '.join(w for w in now if w not in before)}"
            )
    if differing:
        raise ConfigError(
            f"{path} holds features of another encoder or of other settings "
            f"({'; '.join(differing)}); give another folder"
        )


def _check_name(slide_path: str, features_path: Path) -> None:
    """Fail a slide for which the disk allows no feature file of its name."""
    try:
        features_path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SlideError(
            slide_path, f"its features cannot be written ({system_reason(error)}); rename it"
        ) from error


def _output_paths(slides: Sequence[str], out_dir: Path) -> dict[str, Path]:
    paths = {slide: out_dir / f"{Path(slide).stem}.h5" for slide in slides}
    owners: dict[Path, str] = {}
    for slide, path in paths.items():
        if path in owners:
            raise InputError(
                f"{owners[path]} and {slide} would both be written to {path}; embed them into "
                "folders of their own"
            )
        owners[path] = slide
    return paths

"""A fixed bank of tiles from the run's own slides, to look at again and again.

    run's stream, another seed ─→ patch ─┬─→ patch as it is
                                         └─the run's own augmentation→ two global views

The tiles are no samples of the run; their places are drawn like the run's, so that one of them may
overlap a patch that is trained on. The bank is drawn once and kept whole, so that it never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import final
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8

from eosin.atomic import atomic_file
from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides, slide_key
from eosin.catalog.entry import PATIENT_COLUMN
from eosin.catalog.tcga import tcga_columns
from eosin.errors import CheckpointError, system_reason
from eosin.randomness import Purpose, rng_at
from eosin.stream.listed import entries_of
from eosin.stream.result import PatchResult
from eosin.tissue.store import MaskStore
from eosin.train.config import TrainConfig
from eosin.train.stream import Records, make_pipeline
from eosin.transforms.base import Image
from eosin.transforms.parameters import read_nested
from eosin.views import GLOBAL, replay_views

MAX_SLIDES = 64
"""Slides that a bank is drawn from at most: each is opened once, before the first step."""

SITE_COLUMN = "tissue_source_site"

_TEXT = ("utf-8", "surrogateescape")

Strings = Shaped[np.ndarray, " tiles"]


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TileBank:
    """Tiles with where they came from; arrays are in the same order."""

    patches: UInt8[np.ndarray, "tiles patch_px patch_px 3"]
    """As they are on the slide."""
    first_views: UInt8[np.ndarray, "tiles crop_px crop_px 3"]
    """A global crop of each, augmented as the run does."""
    second_views: UInt8[np.ndarray, "tiles crop_px crop_px 3"]
    slides: Strings
    """File names of the slides, or their keys in an anonymous run."""
    patients: Strings
    """Which patient, as a number: the one of the slide list or a TCGA barcode, else the slide."""
    sites: Strings
    """Which tissue source site, as a number; empty where neither list nor barcode says it."""
    x: Int64[np.ndarray, " tiles"]
    """Left edge in level-0 pixels."""
    y: Int64[np.ndarray, " tiles"]
    """Top edge in level-0 pixels."""
    mpp: Float64[np.ndarray, " tiles"]
    """Microns per pixel of the patch."""

    def __len__(self) -> int:
        return len(self.patches)

    def save(self, path: Path) -> None:
        """Write the bank to a file, whole or not at all."""
        # Given a name, NumPy would add a suffix where there is another or none.
        with atomic_file(path) as aside, aside.open("wb") as file:
            np.savez(
                file,
                patches=self.patches,
                first_views=self.first_views,
                second_views=self.second_views,
                # As bytes: NumPy's text is UTF-32, in which a search for a name finds nothing.
                slides=np.char.encode(self.slides, *_TEXT),
                patients=np.char.encode(self.patients, *_TEXT),
                sites=np.char.encode(self.sites, *_TEXT),
                x=self.x,
                y=self.y,
                mpp=self.mpp,
            )

    @classmethod
    def load(cls, path: Path) -> "TileBank":
        """Read a bank that `save` wrote.

        Raises:
            CheckpointError: If there is no such file, or it holds no bank.
        """
        try:
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in stored.files}
            for name, values in arrays.items():
                if values.dtype.kind == "S":
                    arrays[name] = np.char.decode(values, *_TEXT)
            return cls(**arrays)
        except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
            raise CheckpointError(
                f"{path} holds no bank of tiles ({system_reason(error)}); remove it, and a new "
                "bank is drawn"
            ) from error


def draw_bank(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    size: int,
    *,
    backend: SlideBackend | None = None,
    mask_store: MaskStore | None = None,
    num_threads: int = 0,
    records: Records | None = None,
) -> TileBank:
    """Draw a bank from a run's slides; the same arguments give the same bank.

    Args:
        config: Of the run; its seed decides the bank.
        slides: The run's.
        size: Number of tiles, spread over at most `MAX_SLIDES` slides.
        backend: Opens the slides.
        mask_store: Where tissue masks are kept.
        num_threads: Threads that read.
        records: Where it is written down what could not be read, so that a slide that crashes the
            process is left out next time.

    Raises:
        StreamStalledError: If the slides do not give patches.
    """
    entries = entries_of(slides, None)
    num_slides = min(len(entries), MAX_SLIDES)
    seed = int(rng_at(config.seed, Purpose.HELD_OUT).integers(2**31))
    apart = replace(
        config,
        seed=seed,
        data=replace(
            config.data,
            num_lanes=1,
            pool_size=min(8, num_slides),
            patches_per_slide=-(-size // num_slides),
            patches_per_visit=1,
        ),
    )
    pipeline = make_pipeline(
        apart,
        entries,
        backend=backend,
        num_threads=num_threads,
        defer_views=True,
        mask_store=mask_store,
        records=records,
    )
    try:
        samples = list(pipeline.samples(range(size)))
    finally:
        pipeline.close()
    return _stacked(samples, config, anonymous=records is not None and records.anonymous)


def _stacked(samples: list[PatchResult], config: TrainConfig, *, anonymous: bool) -> TileBank:
    patches, first, second = [], [], []
    for sample in samples:
        assert sample.image is not None
        patches.append(sample.image)
        view_a, view_b = _global_views(sample, sample.image, config)
        first.append(view_a)
        second.append(view_b)
    owners = [_owner(sample) for sample in samples]
    places = [sample.coordinate for sample in samples]
    names = [
        slide_key(str(known["fingerprint"])) if anonymous else str(known["name"])
        for known in (sample.slide_metadata for sample in samples)
    ]
    return TileBank(
        patches=np.stack(patches),
        first_views=np.stack(first),
        second_views=np.stack(second),
        slides=np.array(names),
        patients=_numbered([patient for patient, _ in owners]),
        sites=_numbered([site for _, site in owners]),
        x=np.array([place.x for place in places], dtype=np.int64),
        y=np.array([place.y for place in places], dtype=np.int64),
        mpp=np.array([place.mpp for place in places], dtype=np.float64),
    )


def _global_views(sample: PatchResult, patch: Image, config: TrainConfig) -> tuple[Image, Image]:
    data = config.data
    drawn = read_nested(sample.augmentation, "transforms")
    global_views = [view for view in data.views if view.name.startswith(GLOBAL)]
    first, second = replay_views(patch, drawn, data.shared_transforms, global_views).values()
    return first, second


def _numbered(names: Sequence[str]) -> Strings:
    """Return numbers in place of names, in the order of the names; what has none stays empty."""
    numbers = {name: f"{n:05d}" for n, name in enumerate(sorted({*names} - {""}), start=1)}
    return np.array([numbers.get(name, "") for name in names])


def _owner(sample: PatchResult) -> tuple[str, str]:
    """Return the patient and the tissue source site."""
    path = sample.coordinate.slide_path
    known = {**tcga_columns(path), **sample.slide_metadata}
    patient, site = known.get(PATIENT_COLUMN), known.get(SITE_COLUMN)
    return str(patient or PurePath(path).stem), str(site or "")

"""The stream that a run trains on; needs no torch, so that it can be looked at without."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from eosin.backends.auto import AutoBackend
from eosin.backends.base import SlideBackend
from eosin.backends.crash import CrashLog
from eosin.catalog import SlideEntry, Slides, SlideWeights
from eosin.pipeline import PatchPipeline
from eosin.tissue.store import MaskStore
from eosin.train.config import TrainConfig
from eosin.views import DeferredViews


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """What a stream writes down beside what it delivers; nothing where None."""

    quarantine_log: Path | None = None
    manifest: Path | None = None
    crash_log: CrashLog | None = None
    anonymous: bool = False
    """Whether what is written of samples names slides by their content."""


def make_pipeline(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    *,
    backend: SlideBackend | None = None,
    num_threads: int = 0,
    prefetch_bytes: int = 2**28,
    defer_views: bool = False,
    mask_store: MaskStore | None = None,
    records: Records | None = None,
) -> PatchPipeline:
    """Return the stream that a run trains on.

    Args:
        config: Of the run.
        slides: A folder, a file, a table or index, a list of them, or what was listed before.
        backend: Opens the slides.
        num_threads: Threads that read ahead.
        prefetch_bytes: Delivered bytes that may be ready ahead.
        defer_views: Deliver patches and what was drawn for their views, for a device to cut.
        mask_store: Where tissue masks are kept.
        records: Where the stream writes down what happens to it.
    """
    data = config.data
    records = records or Records()
    deferred = DeferredViews(shared=data.shared_transforms, views=data.views)
    return PatchPipeline(
        slide_paths=slides,
        backend=backend or AutoBackend(),
        tissue_detector=data.tissue_detector,
        sampler=data.sampler,
        patch_filter=data.patch_filter,
        transforms=deferred if defer_views else None,
        shared_transforms=None if defer_views else data.shared_transforms,
        views=None if defer_views else data.views,
        slide_sampling="random",
        cycle=True,
        seed=config.seed,
        num_lanes=data.num_lanes,
        pool_size=data.pool_size,
        patches_per_slide=data.patches_per_slide,
        patches_per_visit=data.patches_per_visit,
        max_candidates=data.max_candidates,
        weights=None if data.weights == SlideWeights() else data.weights,
        replacement=data.replacement,
        num_threads=num_threads,
        prefetch_bytes=prefetch_bytes,
        mask_store=mask_store,
        quarantine_log=records.quarantine_log,
        manifest=records.manifest,
        crash_log=records.crash_log,
        anonymous=records.anonymous,
    )

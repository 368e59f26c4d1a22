"""The stream that a run trains on; needs no torch, so that it can be looked at without."""

from collections.abc import Sequence
from pathlib import Path

from eosin.backends.base import SlideBackend
from eosin.backends.openslide import OpenSlideBackend
from eosin.pipeline import PatchPipeline
from eosin.train.config import TrainConfig
from eosin.views import DeferredViews


def make_pipeline(
    config: TrainConfig,
    slides: str | Path | Sequence[str | Path],
    *,
    backend: SlideBackend | None = None,
    num_threads: int = 0,
    defer_views: bool = False,
) -> PatchPipeline:
    """Return the stream that a run trains on.

    Args:
        config: Of the run.
        slides: A folder, a file or a list of them.
        backend: Opens the slides.
        num_threads: Threads that read ahead.
        defer_views: Deliver patches and what was drawn for their views, for a device to cut.
    """
    data = config.data
    deferred = DeferredViews(shared=data.shared_transforms, views=data.views)
    return PatchPipeline(
        slide_paths=slides,
        backend=backend or OpenSlideBackend(),
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
        num_threads=num_threads,
    )

"""What a stream delivers, in pictures: slides with masks and places, patches, views."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8

from eosin.backends.base import SlideBackend
from eosin.backends.patch import read_patch
from eosin.catalog import SlideEntry, Slides
from eosin.errors import SlideError
from eosin.geometry import PatchCoordinate
from eosin.pipeline import PatchPipeline
from eosin.report.page import Html, Section, figure, paragraph, side_by_side, table
from eosin.report.pictures import (
    PatchPlace,
    Tile,
    contact_sheet,
    mpp_legend,
    picture,
    slide_overlay,
)
from eosin.stream.result import PatchResult
from eosin.tissue.store import MaskStore
from eosin.train.config import TrainConfig
from eosin.train.stream import make_pipeline
from eosin.transforms.parameters import read_nested
from eosin.views import DeferredViews, replay_views

NUM_SAMPLES = 320
"""Samples that are drawn for the page, from the first on."""

_MAX_SLIDES = 6
_MAX_ACCEPTED, _MAX_REJECTED = 8, 4
_MAX_SQUARES = 24
_MAX_ROWS = 100
_THUMBNAIL_PX = 640
_VIEW_TILE_PX = 96


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """The first samples of a stream, and the pipeline that gave them."""

    pipeline: PatchPipeline
    results: tuple[PatchResult, ...]

    @property
    def rejected_places(self) -> list[tuple[PatchCoordinate, str]]:
        """Candidates that were turned away, with the cause."""
        return [
            (rejection.coordinate, rejection.cause)
            for result in self.results
            for rejection in result.rejections
            if rejection.coordinate is not None
        ]


def sample_stream(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    backend: SlideBackend,
    *,
    num_samples: int = NUM_SAMPLES,
    mask_store: MaskStore | None = None,
) -> Sampled:
    """Draw the first samples of the stream that a run would train on.

    Args:
        config: Of the run.
        slides: Of the run.
        backend: Opens the slides.
        num_samples: Drawn from the first on.
        mask_store: Where tissue masks are found and kept; computed when needed where None.

    Raises:
        StreamStalledError: If the slides do not give patches.
    """
    pipeline = make_pipeline(
        config, slides, backend=backend, num_threads=2, defer_views=True, mask_store=mask_store
    )
    return Sampled(pipeline=pipeline, results=tuple(islice(pipeline, num_samples)))


def stream_sections(sampled: Sampled, backend: SlideBackend) -> tuple[Section, ...]:
    """Return the sections of a page that show a stream."""
    return (
        Section(heading="Slides", blocks=_slide_blocks(sampled, backend)),
        Section(heading="Patches", blocks=_patch_blocks(sampled, backend)),
        Section(heading="Views of one patch", blocks=_view_blocks(sampled)),
    )


def _slide_blocks(sampled: Sampled, backend: SlideBackend) -> tuple[Html, ...]:
    stats = sampled.pipeline.stats
    mpps = sorted({_rounded(result.coordinate) for result in sampled.results})
    overlays = [
        _overlay(path, sampled, backend) for path, _ in stats.by_slide.most_common(_MAX_SLIDES)
    ]
    note = (
        f"From the first {len(sampled.results)} samples; squares are where the first "
        f"{_MAX_SQUARES} patches of each slide were cut. What the tissue detector leaves out is "
        "faded."
    )
    return (
        paragraph(note),
        mpp_legend(mpps),
        *(side_by_side(overlays[i : i + 2]) for i in range(0, len(overlays), 2)),
        *_slide_table(sampled),
    )


def _slide_table(sampled: Sampled) -> list[Html]:
    """Return what came from each slide; of thousands, those with problems first."""
    stats, pipeline = sampled.pipeline.stats, sampled.pipeline
    problems = {**stats.problems, **pipeline.quarantined}
    turned_away: Counter[str] = Counter()
    for (path, _), number in stats.rejections_by_slide.items():
        turned_away[path] += number
    met = [path for path in pipeline.slides if path in problems]
    met += [path for path in pipeline.slides if path not in problems and stats.by_slide[path]]
    shown = (met if len(pipeline.slides) > _MAX_ROWS else pipeline.slides)[:_MAX_ROWS]
    rows = [
        (Path(path).name, stats.by_slide[path], turned_away[path], problems.get(path, ""))
        for path in shown
    ]
    blocks = [table(("slide", "patches", "turned away", "problem"), rows)]
    if len(shown) < len(pipeline.slides):
        blocks.append(
            paragraph(
                f"{len(shown):,} of {len(pipeline.slides):,} slides: those with a problem, then "
                "those that gave a patch."
            )
        )
    return blocks


def _overlay(path: str, sampled: Sampled, backend: SlideBackend) -> Html:
    detector, masks = sampled.pipeline.tissue_detector, sampled.pipeline.mask_store
    with backend.open(path) as slide:
        info = slide.info
        thumbnail = slide.thumbnail(_THUMBNAIL_PX)
        tissue = detector.tissue(slide) if masks is None else masks.tissue(slide, detector)
    places = [
        PatchPlace(
            x_l0=at.x,
            y_l0=at.y,
            size_l0=at.read_width * info.levels[at.level].downsample,
            mpp=at.mpp,
        )
        for at in (result.coordinate for result in sampled.results)
        if at.slide_path == path
    ][:_MAX_SQUARES]
    drawn = slide_overlay(thumbnail, tissue.mask, places, width_l0=info.width_l0)
    name = Path(path).name
    mpp = "" if info.mpp is None else f", {info.mpp.mean:.4g} \u00b5m/px"
    caption = (
        f"{name}: {info.width_l0} x {info.height_l0} px{mpp}, {tissue.tissue_fraction:.0%} tissue"
    )
    caption = "; ".join((caption, *info.notes))
    return figure(picture(drawn, f"{name} with tissue mask and patch places"), caption)


def _patch_blocks(sampled: Sampled, backend: SlideBackend) -> tuple[Html, ...]:
    stats = sampled.pipeline.stats
    turned_away = ", ".join(f"{n} by {cause}" for cause, n in stats.rejections.most_common())
    blocks = [
        paragraph(
            "Before any augmentation, by microns per pixel. Blue borders were accepted, broken "
            f"orange ones were not. Turned away in all: {turned_away or 'none'}."
        )
    ]
    accepted = [(result.coordinate, "") for result in sampled.results]
    for mpp in sorted({_rounded(at) for at, _ in accepted}):
        kept = [pair for pair in accepted if _rounded(pair[0]) == mpp][:_MAX_ACCEPTED]
        lost = [pair for pair in sampled.rejected_places if _rounded(pair[0]) == mpp]
        tiles = _tiles(kept, "accepted", backend) + _tiles(
            lost[:_MAX_REJECTED], "rejected", backend
        )
        blocks.append(figure(contact_sheet(tiles), f"{mpp:g} \u00b5m/px"))
    return tuple(blocks)


def _tiles(
    places: Sequence[tuple[PatchCoordinate, str]], verdict: str, backend: SlideBackend
) -> list[Tile]:
    tiles = []
    for at, cause in places:
        image = patch_at(at, backend)
        if image is not None:
            is_kept = verdict == "accepted"
            caption = cause or Path(at.slide_path).stem
            tiles.append(
                Tile(image=image, caption=caption, verdict="accepted" if is_kept else "rejected")
            )
    return tiles


def _view_blocks(sampled: Sampled) -> tuple[Html, ...]:
    result, deferred = sampled.results[0], sampled.pipeline.transforms
    # As `sample_stream` has it: of all the samples only these views are cut.
    assert isinstance(deferred, DeferredViews)
    assert result.image is not None
    drawn = read_nested(result.augmentation, "transforms")
    cut = replay_views(result.image, drawn, deferred.shared, deferred.views)
    at = result.coordinate
    whole = [Tile(image=result.image, caption="the patch")]
    views = [
        Tile(image=np.asarray(view, np.uint8), caption=f"{name}, {view.shape[1]} px")
        for name, view in cut.items()
    ]
    name = Path(at.slide_path).name
    caption = f"Sample {result.index}: {name}, x={at.x}, y={at.y}, {at.mpp:.3g} \u00b5m/px"
    return (figure(contact_sheet(whole + views, tile_px=_VIEW_TILE_PX), caption),)


def patch_at(at: PatchCoordinate, backend: SlideBackend) -> UInt8[np.ndarray, "size size 3"] | None:
    """Return a patch as it is on the slide; None where it cannot be read."""
    try:
        with backend.open(at.slide_path) as slide:
            return read_patch(slide, at)
    except SlideError:
        return None


def _rounded(at: PatchCoordinate) -> float:
    """Return the magnification as people name it: 0.2528 and 0.25 are one."""
    return float(f"{at.mpp:.2g}")

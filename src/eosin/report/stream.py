"""What a stream delivers, in pictures: slides with masks and places, patches, views."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8

from eosin.backends.base import SlideBackend
from eosin.backends.patch import read_patch
from eosin.catalog import SlideEntry, Slides
from eosin.errors import SlideError, StreamStalledError
from eosin.filters.base import filter_note
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
_MAX_LEFT_OUT = 200
_THUMBNAIL_PX = 640
_VIEW_TILE_PX = 96


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """The first samples of a stream, and the pipeline that gave them."""

    pipeline: PatchPipeline
    results: tuple[PatchResult, ...]
    stalled: StreamStalledError | None = None
    """Why there are no more of them."""

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
    keep_stalled: bool = False,
) -> Sampled:
    """Draw the first samples of the stream that a run would train on.

    Args:
        config: Of the run.
        slides: Of the run.
        backend: Opens the slides.
        num_samples: Drawn from the first on.
        mask_store: Where tissue masks are found and kept; computed when needed where None.
        keep_stalled: Return what there is of a stream that stalls, with the reason.

    Raises:
        StreamStalledError: If the slides do not give patches, unless that is kept.
    """
    pipeline = make_pipeline(
        config, slides, backend=backend, num_threads=2, defer_views=True, mask_store=mask_store
    )
    results: list[PatchResult] = []
    try:
        results.extend(islice(pipeline, num_samples))
    except StreamStalledError as error:
        if not keep_stalled:
            raise
        return Sampled(pipeline=pipeline, results=tuple(results), stalled=error)
    return Sampled(pipeline=pipeline, results=tuple(results))


def stream_sections(sampled: Sampled, backend: SlideBackend) -> tuple[Section, ...]:
    """Return the sections of a page that show a stream."""
    slides = Section(heading="Slides", blocks=_slide_blocks(sampled, backend))
    if not sampled.results:
        return (slides,)
    return (
        slides,
        Section(heading="Patches", blocks=_patch_blocks(sampled, backend)),
        Section(heading="Views of one patch", blocks=_view_blocks(sampled)),
    )


def left_out_section(left_out: Mapping[str, str]) -> tuple[Section, ...]:
    """Return the section that names slides which were named and are not used; none without them."""
    if not left_out:
        return ()
    rows = [(Path(path).name, reason) for path, reason in list(left_out.items())[:_MAX_LEFT_OUT]]
    blocks = [table(("slide", "why"), rows)]
    if len(left_out) > len(rows):
        blocks.append(paragraph(f"And {len(left_out) - len(rows):,} more."))
    return (Section(heading="Slides left out", blocks=tuple(blocks)),)


def _slide_blocks(sampled: Sampled, backend: SlideBackend) -> tuple[Html, ...]:
    pipeline = sampled.pipeline
    gave = [path for path, _ in pipeline.stats.by_slide.most_common()]
    # Where nothing gave a patch, those of which some were tried, or that have no tissue.
    tried = list(dict.fromkeys(path for path, _ in pipeline.stats.rejections_by_slide))
    overlays = _overlays(gave or tried, sampled, backend)
    which = "those that gave most patches" if gave else "some that were tried"
    blocks = []
    if sampled.stalled is not None:
        blocks.append(paragraph(f"There are no more patches: {sampled.stalled}."))
    blocks.append(
        paragraph(
            f"{len(overlays):,} of {len(pipeline.slides):,} slides are drawn"
            + ("" if len(overlays) == len(pipeline.slides) else f" ({which})")
            + f", from the first {len(sampled.results):,} samples; squares are where the first "
            f"{_MAX_SQUARES} patches of each slide were cut. What the tissue detector leaves out "
            "is faded."
        )
    )
    mpps = sorted({_rounded(result.coordinate) for result in sampled.results})
    return (
        *blocks,
        *([mpp_legend(mpps)] if mpps else []),
        *(side_by_side(overlays[i : i + 2]) for i in range(0, len(overlays), 2)),
        *_slide_table(sampled),
    )


def _overlays(paths: Sequence[str], sampled: Sampled, backend: SlideBackend) -> list[Html]:
    """Return pictures of the first slides that can be drawn."""
    drawn: list[Html] = []
    for path in paths:
        if len(drawn) == _MAX_SLIDES:
            break
        with suppress(SlideError):
            drawn.append(_overlay(path, sampled, backend))
    return drawn


def _slide_table(sampled: Sampled) -> list[Html]:
    """Return what came from each slide; of thousands, those with problems first."""
    stats, pipeline = sampled.pipeline.stats, sampled.pipeline
    problems = {**stats.problems, **pipeline.quarantined}
    turned_away: dict[str, Counter[str]] = defaultdict(Counter)
    for (path, cause), number in stats.rejections_by_slide.items():
        turned_away[path][cause] += number
    said: dict[str, list[str]] = {}
    for entry in pipeline.entries:
        path, scanned = entry.path, entry.metadata.get("scan_notes")
        words = [problems[path]] if path in problems else []
        # What the index says, of slides that were not opened here.
        stored = scanned.split("; ") if isinstance(scanned, str) else ()
        words += pipeline.notes.get(path, stored)
        if not stats.by_slide[path] and path not in problems:
            num_judged = turned_away[path][type(pipeline.patch_filter).__name__]
            if num_judged and pipeline.patch_filter is not None:
                words.append(filter_note(pipeline.patch_filter, num_judged))
            elif not turned_away[path]:
                words.append(f"not met in the first {len(sampled.results):,} samples")
        said[path] = words
    met = [path for path in pipeline.slides if path in problems]
    met += [path for path in pipeline.slides if path not in problems and turned_away[path]]
    met += [path for path in pipeline.slides if path not in {*met} and stats.by_slide[path]]
    shown = (met if len(pipeline.slides) > _MAX_ROWS else pipeline.slides)[:_MAX_ROWS]
    rows = [
        (
            Path(path).name,
            stats.by_slide[path],
            ", ".join(f"{number} by {cause}" for cause, number in turned_away[path].most_common()),
            ". ".join(said[path]),
        )
        for path in shown
    ]
    blocks = [table(("slide", "patches", "turned away", "problem, or what to look at"), rows)]
    if len(shown) < len(pipeline.slides):
        blocks.append(
            paragraph(
                f"{len(shown):,} of {len(pipeline.slides):,} slides: those with a problem, those "
                "of which patches were turned away, then those that gave a patch."
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
    caption = "; ".join((caption, *sampled.pipeline.notes.get(path, info.notes)))
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

"""All that a scan finds out about one slide; what goes wrong with it becomes its `problem`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import final

from eosin.backends.base import Slide
from eosin.backends.files import file_fingerprint
from eosin.errors import EosinError, SlideError
from eosin.filters.base import filter_note
from eosin.geometry import SlideInfo
from eosin.scan.acceptance import measure_acceptance
from eosin.scan.plan import ScanPlan
from eosin.tissue.doubt import mask_note, no_tissue
from eosin.tissue.mask import TissueMask
from eosin.tissue.store import MaskStore


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ScannedSlide:
    """One row of an index, without the columns that the slide list brings."""

    path: str
    name: str
    fingerprint: str | None = None
    num_bytes: int | None = None
    """Of the file, or of all files of a folder that is one slide."""
    vendor: str | None = None
    codec: str | None = None
    reader: str | None = None
    mpp_x: float | None = None
    mpp_y: float | None = None
    mpp_source: str | None = None
    width_l0: int | None = None
    height_l0: int | None = None
    num_levels: int | None = None
    levels: str | None = None
    """JSON: width, height and downsample of each."""
    tissue_fraction: float | None = None
    tissue_mm2: float | None = None
    acceptance: float | None = None
    """Share of candidates that the filter keeps, over the sampler's mix of magnifications."""
    acceptance_by_mpp: Mapping[str, float] = field(default_factory=dict)
    """The same for each target, by its column."""
    unreadable_fraction: float | None = None
    duplicate_of: str | None = None
    """Path of an earlier slide with the same content."""
    problem: str | None = None
    """Why it cannot be used; None when it can."""
    scan_notes: tuple[str, ...] = ()
    """What a user should hear about it although it can be used: `SlideInfo.notes`, and what a scan
    itself finds. Text in the index, joined by semicolons."""


Known = Callable[[str], ScannedSlide | None]
"""Gives what an earlier scan found out about a slide with this fingerprint."""


def scan_slide(
    path: str, plan: ScanPlan, mask_store: MaskStore | None, known: Known
) -> ScannedSlide:
    """Return what there is to know about a slide; failing to open it is part of that.

    Raises:
        EosinError: If something fails that is no fault of the slide, such as writing its mask.
    """
    found = ScannedSlide(path=path, name=PurePath(path).name, num_bytes=_num_bytes(path))
    try:
        with plan.backend.open(path) as slide:
            before = known(slide.info.fingerprint)
            if before is not None and _has_mask(slide, plan, mask_store):
                return replace(
                    before, path=path, name=found.name, num_bytes=found.num_bytes, duplicate_of=None
                )
            found = _described(found, slide.info)
            return _examined(found, slide, plan, mask_store)
    except SlideError as error:
        problem = error.reason
    except EosinError:
        raise
    except Exception as error:  # noqa: BLE001 - the border: one slide must not end the scan
        problem = f"{type(error).__name__}: {error}"
    return replace(
        found, problem=problem, fingerprint=found.fingerprint or _fingerprint_if_readable(path)
    )


def _has_mask(slide: Slide, plan: ScanPlan, mask_store: MaskStore | None) -> bool:
    # A scan also fills the store, which may be another one than last time.
    return mask_store is None or mask_store.has(slide, plan.tissue_source)


def _described(found: ScannedSlide, info: SlideInfo) -> ScannedSlide:
    levels = [
        {"width": level.width, "height": level.height, "downsample": level.downsample}
        for level in info.levels
    ]
    return replace(
        found,
        fingerprint=info.fingerprint,
        vendor=info.vendor,
        codec=info.codec,
        reader=info.reader,
        mpp_x=None if info.mpp is None else float(info.mpp.x),
        mpp_y=None if info.mpp is None else float(info.mpp.y),
        mpp_source=info.mpp_source,
        width_l0=info.width_l0,
        height_l0=info.height_l0,
        num_levels=len(levels),
        levels=json.dumps(levels),
        scan_notes=info.notes,
    )


def _examined(
    found: ScannedSlide, slide: Slide, plan: ScanPlan, mask_store: MaskStore | None
) -> ScannedSlide:
    source = plan.tissue_source
    tissue = source.tissue(slide) if mask_store is None else mask_store.tissue(slide, source)
    found = replace(
        found, tissue_fraction=tissue.tissue_fraction, tissue_mm2=_tissue_mm2(slide.info, tissue)
    )
    if tissue.is_empty:
        return replace(found, problem=no_tissue(slide, source))
    note = mask_note(slide, tissue, source)
    if note is not None:
        found = replace(found, scan_notes=(*found.scan_notes, note))
    # A mask that misses the tissue may be why no place is found.
    because = "" if note is None else f"; {note}"
    try:
        acceptance = measure_acceptance(slide, tissue, plan)
    except SlideError as error:
        # Kept apart from failures above: what is known by now stays in the row.
        return replace(found, problem=error.reason + because)
    notes = found.scan_notes
    if acceptance.overall == 0 and acceptance.problem is None and plan.patch_filter is not None:
        notes = (*notes, filter_note(plan.patch_filter, acceptance.num_read))
    return replace(
        found,
        scan_notes=notes,
        acceptance=acceptance.overall,
        acceptance_by_mpp={
            f"acceptance_{target:g}": share for target, share in acceptance.by_target.items()
        },
        unreadable_fraction=acceptance.unreadable,
        problem=None if acceptance.problem is None else acceptance.problem + because,
    )


def _tissue_mm2(info: SlideInfo, tissue: TissueMask) -> float | None:
    if info.mpp is None:
        return None
    slide_mm2 = info.width_l0 * info.mpp.x * info.height_l0 * info.mpp.y / 1e6
    return tissue.tissue_fraction * slide_mm2


def _num_bytes(path: str) -> int | None:
    where = Path(path)
    try:
        if where.is_dir():
            return sum(file.stat().st_size for file in where.rglob("*") if file.is_file())
        return where.stat().st_size
    except (OSError, ValueError):  # a name that no file can have
        return None


def _fingerprint_if_readable(path: str) -> str | None:
    if "://" in path:
        return None
    try:
        return file_fingerprint(path)
    except OSError:
        return None

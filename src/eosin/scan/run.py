"""A scan: every slide of a list looked at once, in parallel, and written down as an index."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from eosin.backends.crash import CrashLog
from eosin.backends.guarded import guarded
from eosin.catalog.entry import SlideEntry
from eosin.errors import ConfigError, InputError
from eosin.progress import progress_bar
from eosin.scan.index import check_places, known_slides, write_index
from eosin.scan.plan import ScanPlan
from eosin.scan.slide import ScannedSlide, scan_slide
from eosin.tissue.store import MaskStore


def scan_slides(
    entries: Sequence[SlideEntry],
    out: Path,
    plan: ScanPlan,
    *,
    mask_store: MaskStore | None = None,
    crash_log: CrashLog | None = None,
    num_threads: int = 4,
) -> tuple[ScannedSlide, ...]:
    """Look at every slide, write what there is to know into an index, and return it.

    A slide that cannot be used is a row with the reason. Where the index is there already, slides
    of unchanged content are taken over from it if the plan is the same; where masks are stored, a
    scan that was stopped goes on quickly. The index appears when all is done, whole or not at all.

    Args:
        entries: The slides; their columns go into the index.
        out: The index, ending in `.parquet`.
        plan: What to look with.
        mask_store: Keeps the tissue masks, None to compute them and forget them.
        crash_log: Notes what is being read, so that a slide that takes the process down is left
            out by the next scan.
        num_threads: Slides that are looked at together.

    Raises:
        ConfigError: If a setting makes no sense, or something else is where index or masks belong.
        InputError: If the list is empty, or a mask cannot be written.
        WriteError: If the index cannot be written, such as on a full disk.
    """
    if num_threads < 1:
        raise ConfigError(f"num_threads={num_threads} must be at least 1")
    if not entries:
        raise InputError("there are no slides to scan; give a folder, slides or a table")
    folders = [place.folder for place in (mask_store, crash_log) if place is not None]
    check_places(out, folders=folders, inputs=[entry.path for entry in entries])
    if crash_log is not None:
        crash_log.take_stock()
    looking = replace(plan, backend=guarded(plan.backend, crash_log))
    known = known_slides(out, plan)
    found: dict[int, ScannedSlide] = {}
    with (
        progress_bar("scan", len(entries)) as bar,
        ThreadPoolExecutor(num_threads, thread_name_prefix="scan") as threads,
    ):
        numbers: dict[Future[ScannedSlide], int] = {
            threads.submit(scan_slide, entry.path, looking, mask_store, known): number
            for number, entry in enumerate(entries)
        }
        try:
            for done in as_completed(numbers):
                slide = found[numbers[done]] = done.result()
                bar.advance(note=slide.name)
        except BaseException:
            # Otherwise leaving the block would wait for all slides that have not begun.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    scanned = _with_duplicates([found[number] for number in range(len(entries))])
    write_index(out, scanned, [entry.metadata for entry in entries], plan)
    return tuple(scanned)


def _with_duplicates(scanned: Sequence[ScannedSlide]) -> list[ScannedSlide]:
    first: dict[str, str] = {}
    marked: list[ScannedSlide] = []
    for slide in scanned:
        content = slide.fingerprint
        if content is None or slide.problem is not None:
            marked.append(slide)
        elif content in first:
            marked.append(replace(slide, duplicate_of=first[content]))
        else:
            first[content] = slide.path
            marked.append(slide)
    return marked

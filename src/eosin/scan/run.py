"""A scan: every slide of a list looked at once, in parallel, and written down as an index."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from eosin.backends.crash import CrashLog
from eosin.backends.files import have_same_content
from eosin.backends.guarded import guarded
from eosin.catalog.entry import SlideEntry
from eosin.errors import ConfigError, InputError, MissingDependencyError
from eosin.names import escaped, get_logger
from eosin.progress import progress_bar
from eosin.scan.index import check_places, known_slides, write_index
from eosin.scan.plan import ScanPlan
from eosin.scan.slide import ScannedSlide, scan_slide
from eosin.tissue.store import MaskStore

logger = get_logger(__name__)

_GRACE_S = 2.0
"""For slides that are being looked at when a scan is stopped; those that take longer are left."""


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
    paths = [entry.path for entry in entries]
    rows = _as_scanned(
        paths, lambda path: scan_slide(path, looking, mask_store, known), num_threads
    )
    with progress_bar("scan", len(entries)) as bar, closing(rows):
        for number, slide in rows:
            found[number] = slide
            bar.advance(note=slide.name)
    scanned = _with_copies([found[number] for number in range(len(entries))])
    write_index(out, scanned, [entry.metadata for entry in entries], plan)
    return tuple(scanned)


def _as_scanned(
    paths: Sequence[str], scan: Callable[[str], ScannedSlide], num_threads: int
) -> Generator[tuple[int, ScannedSlide]]:
    """Yield number and row of each slide as it is done.

    The threads are no executor's: leaving one waits for what they do, and a file may take for ever.
    """
    left, done = deque(enumerate(paths)), SimpleQueue[tuple[int, ScannedSlide | BaseException]]()

    def scan_what_is_left() -> None:
        while left:
            try:
                number, path = left.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                done.put((number, scan(path)))
            except BaseException as error:  # noqa: BLE001 - raised where it can be caught
                done.put((number, error))

    threads = [
        Thread(target=scan_what_is_left, name=f"scan {n}", daemon=True)
        for n in range(min(num_threads, len(paths)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in paths:
            number, result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield number, result
    finally:
        left.clear()
        until = time.monotonic() + _GRACE_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def _with_copies(scanned: Sequence[ScannedSlide]) -> list[ScannedSlide]:
    """Mark slides that are copies of earlier ones, and note those that only look like copies.

    A fingerprint is made of a few samples of a file, so the content is compared whole where two
    have the same one: what differs may be damage, and a sound slide must not be left out for it.
    """
    marked = list(scanned)
    of_content: defaultdict[str, list[int]] = defaultdict(list)
    for number, slide in enumerate(scanned):
        if slide.fingerprint is not None and slide.problem is None:
            of_content[slide.fingerprint].append(number)
    alike = [numbers for numbers in of_content.values() if len(numbers) > 1]
    if not alike:
        return marked
    with progress_bar("comparing copies", sum(len(numbers) - 1 for numbers in alike)) as bar:
        for numbers in alike:
            originals = numbers[:1]
            for number in numbers[1:]:
                path = scanned[number].path
                copied = next((n for n in originals if _is_copy(path, scanned[n].path)), None)
                if copied is None:
                    originals.append(number)
                else:
                    marked[number] = replace(marked[number], duplicate_of=scanned[copied].path)
                bar.advance(note=scanned[number].name)
            for number in originals if len(originals) > 1 else ():
                like = ", ".join(escaped(scanned[n].path) for n in originals if n != number)
                note = (
                    f"has the size and the sampled bytes of {like} but is no copy: one of them may "
                    "be damaged"
                )
                notes = (*marked[number].scan_notes, note)
                marked[number] = replace(marked[number], scan_notes=notes)
                logger.warning("%s %s", scanned[number].path, note)
    return marked


def _is_copy(path: str, other: str) -> bool:
    try:
        return have_same_content(path, other)
    except (OSError, MissingDependencyError):
        return False  # what cannot be compared is not left out

"""A scan for people: what there is, what cannot be used and why, as text."""

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eosin.names import shown
from eosin.scan.slide import ScannedSlide

_WIDTH = 110
_MAX_LISTED = 30
_MAX_NAMED = 3


def summary(scanned: Sequence[ScannedSlide]) -> str:
    """Return tables of the slides by kind, of where microns come from, and of the problems."""
    usable = [slide for slide in scanned if slide.problem is None and slide.duplicate_of is None]
    bad = [slide for slide in scanned if slide.problem is not None]
    copies = [slide for slide in scanned if slide.duplicate_of is not None]
    fruitless = [slide for slide in usable if slide.acceptance == 0]
    console = Console(file=io.StringIO(), width=_WIDTH)
    console.print(
        f"{len(scanned)} slides ({_total_gb(scanned):.2f} GB): {len(usable)} can be used "
        f"({sum(slide.tissue_mm2 or 0.0 for slide in usable):,.0f} mm2 of tissue), "
        f"{len(copies)} are copies, {len(bad)} have a problem",
        highlight=False,
    )
    if usable:
        console.print(_kinds(usable))
        console.print(_mpp_sources(usable))
    if fruitless:
        title = "May give nothing: all candidates that were read are turned away"
        console.print(_listed(title, "tissue", fruitless, _tissue_text))
    if any(slide.scan_notes for slide in usable):
        console.print(_notes(usable))
    if bad:
        console.print(_listed("Cannot be used", "why", bad, lambda slide: slide.problem))
    if copies:
        console.print(_listed("Copies", "of", copies, lambda slide: slide.duplicate_of))
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _kinds(slides: Sequence[ScannedSlide]) -> Table:
    table = Table(
        "vendor",
        "codec",
        "reader",
        title="Can be used (tissue and accepted patches: medians)",
        title_justify="left",
    )
    for name in ("slides", "um/px", "levels", "tissue mm2", "tissue", "accepted"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, str, str], list[ScannedSlide]] = defaultdict(list)
    for slide in slides:
        groups[slide.vendor or "", slide.codec or "", slide.reader or ""].append(slide)
    for kind, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        table.add_row(
            *map(_cell, kind),
            str(len(members)),
            _range((slide.mpp_x for slide in members), "{:.4g}"),
            _range((slide.num_levels for slide in members), "{:d}"),
            _median((slide.tissue_mm2 for slide in members), "{:.1f}"),
            _median((slide.tissue_fraction for slide in members), "{:.0%}"),
            _median((slide.acceptance for slide in members), "{:.0%}"),
        )
    return table


def _mpp_sources(slides: Sequence[ScannedSlide]) -> Table:
    table = Table("microns per pixel from", title_justify="left")
    table.add_column("slides", justify="right")
    table.add_column("um/px", justify="right")
    groups: dict[str, list[ScannedSlide]] = defaultdict(list)
    for slide in slides:
        groups[slide.mpp_source or ""].append(slide)
    for source, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        table.add_row(
            _cell(source),
            str(len(members)),
            _range((slide.mpp_x for slide in members), "{:.4g}"),
        )
    return table


def _notes(slides: Sequence[ScannedSlide]) -> Table:
    table = Table("note", title="Can be used, but look at these", title_justify="left")
    table.add_column("slides", justify="right")
    table.add_column("such as")
    groups: dict[str, list[ScannedSlide]] = defaultdict(list)
    for slide in slides:
        for note in slide.scan_notes:
            groups[note].append(slide)
    common = sorted(groups.items(), key=lambda item: -len(item[1]))
    for note, members in common[:_MAX_LISTED]:
        names = ", ".join(slide.name for slide in members[:_MAX_NAMED])
        table.add_row(_cell(note), str(len(members)), _cell(names))
    if len(common) > _MAX_LISTED:
        table.add_row(f"and {len(common) - _MAX_LISTED} more, in the index", "", "")
    return table


def _listed(
    title: str,
    column: str,
    slides: Sequence[ScannedSlide],
    text: Callable[[ScannedSlide], str | None],
) -> Table:
    table = Table("slide", column, title=title, title_justify="left")
    for slide in slides[:_MAX_LISTED]:
        table.add_row(_cell(slide.name), _cell(text(slide) or ""))
    if len(slides) > _MAX_LISTED:
        table.add_row("...", f"and {len(slides) - _MAX_LISTED} more, in the index")
    return table


def _cell(text: str) -> str:
    return escape(shown(text))


def _tissue_text(slide: ScannedSlide) -> str:
    return f"{slide.tissue_fraction or 0.0:.2%} of the slide"


def _range(values: Iterable[float | None], form: str) -> str:
    texts = dict.fromkeys(
        form.format(value) for value in sorted(v for v in values if v is not None)
    )
    ends = list(texts)
    return " to ".join(dict.fromkeys((ends[0], ends[-1]))) if ends else ""


def _median(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(median(known)) if known else ""


def _total_gb(slides: Sequence[ScannedSlide]) -> float:
    return sum(slide.num_bytes or 0 for slide in slides) / 1e9

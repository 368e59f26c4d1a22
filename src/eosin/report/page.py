"""One self-contained HTML page: no script, no font, no picture from anywhere else.

Text is escaped where it becomes `Html`, and only `Html` is put into a page as it is.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NewType, final

from eosin import __version__
from eosin.atomic import check_file, write_atomic
from eosin.errors import ConfigError
from eosin.names import shown

Html = NewType("Html", str)
"""Markup that is safe to put into a page."""


def escape(text: str) -> str:
    """Return text as it may stand in markup, with names `shown`, line by line."""
    return html.escape("\n".join(map(shown, text.split("\n"))))


STYLE = """
:root { --ink: #26222d; --soft: #6a6474; --line: #e4dfe9; --wash: #f7f5fa;
  --violet: #52307c; --pink: #d4588f; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
header { background: var(--wash); border-bottom: 1px solid var(--line);
  border-top: 6px solid var(--violet); }
header > div, main, footer { max-width: 60rem; margin: 0 auto; padding: 0 1.25rem; }
header > div { padding-top: 2rem; padding-bottom: 1.5rem; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -0.01em; color: var(--violet); }
header p { margin: .5rem 0 0; color: var(--soft); max-width: 46rem; }
header p.state { color: var(--ink); font-weight: 600; }
.bar { margin-top: .6rem; height: .5rem; max-width: 46rem; border-radius: .25rem;
  background: var(--line); overflow: hidden; }
.bar > div { height: 100%; background: var(--violet); }
nav { margin-top: 1.25rem; font-size: .92rem; }
nav ol { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: .3rem 1.4rem; }
a { color: var(--violet); text-decoration-color: var(--pink); text-underline-offset: .2em; }
section { padding: .5rem 0 1rem; }
h2 { margin: 2rem 0 .75rem; padding-bottom: .3rem; font-size: 1.35rem; line-height: 1.3;
  border-bottom: 2px solid var(--pink); scroll-margin-top: 1rem; }
p { max-width: 46rem; margin: .75rem 0; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .875em; }
figure { margin: 1.25rem 0; break-inside: avoid; }
figure > img, figure > svg { display: block; max-width: 100%; height: auto; }
figure:has(> svg) { overflow-x: auto; }
figure > svg { min-width: 24rem; }
figcaption, caption { color: var(--soft); font-size: .9rem; line-height: 1.45; }
figcaption { margin-top: .5rem; max-width: 46rem; }
.pair, .three { display: grid; gap: 0 1.5rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
.three { grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
.pair > *, .three > * { min-width: 0; }
.three figure { margin: .6rem 0; }
.three figure > svg { min-width: 0; }
.wide { overflow-x: auto; margin: 1.25rem 0; }
table { border-collapse: collapse; font-size: .94rem; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); }
thead th { font-weight: 600; border-bottom: 2px solid var(--line); }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
details { margin: 1rem 0; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--wash); }
summary { padding: .6rem 1rem; cursor: pointer; font-weight: 600; }
details > div { padding: 0 1rem 1rem; overflow-x: auto; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--tile, 7rem), 1fr));
  gap: .8rem .6rem; }
.rows { display: grid; gap: .4rem .4rem; align-items: start;
  grid-template-columns: repeat(var(--columns), minmax(5.5rem, 9rem)); }
.rows > span { font-size: .85rem; font-weight: 600; color: var(--soft); }
.tile { margin: 0; }
.tile img { display: block; width: 100%; height: auto; border: 3px solid var(--line);
  border-radius: .2rem; }
.tile.accepted img { border-color: #0072b2; }
.tile.rejected img { border-color: #d55e00; border-style: dashed; }
.tile figcaption { margin-top: .2rem; font-size: .76rem; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0; padding: 0;
  list-style: none; font-size: .9rem; color: var(--soft); }
.legend svg { vertical-align: -.1em; margin-right: .4em; }
footer { margin-top: 2rem; padding-top: 1rem; padding-bottom: 2rem; color: var(--soft);
  font-size: .88rem; }
@media (max-width: 34rem) { body { font-size: 15px; } h1 { font-size: 1.6rem; } }
@media print { header { background: none; } nav { display: none; } body { font-size: 11pt; }
  section { break-inside: auto; } h2 { break-after: avoid; } }
"""


_GENERATOR = "eosin"
_HEAD_BYTES = 65536
"""Holds the marks of a page, also after a long title."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Put blocks under a heading that the table of contents lists."""

    heading: str
    blocks: tuple[Html, ...]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Hold what a page says; `render` makes it one HTML file."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    footer: str = ""
    state: str = ""
    """How far what the page shows has come; stands out in the header."""
    share_done: float | None = None
    """From 0 to 1, drawn as a bar under the state."""

    def render(self) -> str:
        """Return the whole document."""
        contents = "".join(
            f'<li><a href="#section-{number}">{escape(section.heading)}</a></li>'
            for number, section in enumerate(self.sections, start=1)
        )
        body = "\n".join(
            f'<section><h2 id="section-{number}">{escape(section.heading)}</h2>\n'
            + "\n".join(section.blocks)
            + "\n</section>"
            for number, section in enumerate(self.sections, start=1)
        )
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta name="generator" content="{_GENERATOR} {__version__}">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            f"<header><div><h1>{escape(self.title)}</h1>\n<p>{escape(self.summary)}</p>\n"
            f"{self._progress()}"
            f'<nav aria-label="Contents"><ol>{contents}</ol></nav></div></header>\n'
            f"<main>\n{body}\n</main>\n<footer>{escape(self.footer)}</footer>\n</body>\n</html>\n"
        )

    def _progress(self) -> str:
        state = f'<p class="state">{escape(self.state)}</p>\n' if self.state else ""
        if self.share_done is None:
            return state
        percent = 100 * min(max(self.share_done, 0.0), 1.0)
        return (
            f'{state}<div class="bar" role="img" aria-label="{percent:.0f} % done">'
            f'<div style="width: {percent:.1f}%"></div></div>\n'
        )


def check_page(path: Path, inputs: Iterable[Path | str] = ()) -> None:
    """Refuse a place for a page, before any work is done for it.

    Raises:
        ConfigError: If something else is there, or one of the inputs.
        WriteError: If nothing can be written there.
    """
    check_file(path, "a page", is_ours=is_page, inputs=inputs)


def write_page(path: Path, page: Page) -> None:
    """Write a page, whole or not at all.

    Raises:
        ConfigError: If something else than a page of eosin is there.
        WriteError: If it cannot be written, such as on a full disk.
    """
    write_atomic(path, page.render(), is_ours=is_page)


def is_page(path: Path) -> bool:
    """Return whether `write_page` wrote a file, of this version or an earlier one."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode(errors="replace")
    except OSError:
        return False
    # Pages of earlier versions have no mark; their style is known.
    return f'name="generator" content="{_GENERATOR} ' in head or STYLE[:120] in head


def paragraph(text: str) -> Html:
    """Return plain text as a paragraph."""
    return Html(f"<p>{escape(text)}</p>")


def figure(picture: Html, caption: str) -> Html:
    """Return a picture, chart or contact sheet with its caption."""
    return Html(f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>")


def side_by_side(blocks: Sequence[Html], *, in_a_row: Literal[2, 3] = 2) -> Html:
    """Return blocks beside one another, below one another where the screen is narrow."""
    kind = "pair" if in_a_row == 2 else "three"
    return Html(f'<div class="{kind}">{"".join(blocks)}</div>')


def table(
    header: Sequence[str], rows: Sequence[Sequence[str | int | float]], caption: str = ""
) -> Html:
    """Return a table; columns that hold only numbers are set to the right.

    Floats are shown with four significant digits; give text to show them otherwise.

    Raises:
        ConfigError: If a row is not as long as the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ConfigError(f"a table row has {len(row)} cells under {len(header)} headings")
    classes = [
        ' class="number"' if rows and all(isinstance(row[i], int | float) for row in rows) else ""
        for i in range(len(header))
    ]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(header, classes, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{escape(_cell(cell))}</td>" for cell, kind in zip(row, classes, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def collapsible(summary: str, content: Html) -> Html:
    """Return content that is folded away until its summary is clicked."""
    return Html(f"<details><summary>{escape(summary)}</summary><div>{content}</div></details>")


def configuration(summary: str, values: Mapping[str, object]) -> Html:
    """Return settings, folded away; nested mappings are indented."""
    return collapsible(summary, Html(f"<pre>{escape(_indented(values, 0))}</pre>"))


def _cell(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _indented(values: Mapping[str, object], depth: int) -> str:
    lines = []
    for name, value in values.items():
        margin = "  " * depth
        if isinstance(value, Mapping) and value:
            lines.append(f"{margin}{name}\n{_indented(value, depth + 1)}")
        else:
            lines.append(f"{margin}{name} = {value}")
    return "\n".join(lines)

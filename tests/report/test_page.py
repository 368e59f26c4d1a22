import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.report.charts import Series, line_chart
from eosin.report.page import (
    Page,
    Section,
    collapsible,
    configuration,
    figure,
    is_page,
    paragraph,
    side_by_side,
    table,
    write_page,
)
from eosin.report.pictures import Tile, contact_sheet, picture

NASTY = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collect tags, links and text, and check that tags are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def full_page():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    line = Series(name=NASTY, x=(0.0, 1.0), y=(1.0, 2.0))
    return Page(
        title=NASTY,
        summary=NASTY,
        footer=NASTY,
        sections=(
            Section(
                heading=NASTY,
                blocks=(
                    paragraph(NASTY),
                    figure(picture(image, NASTY), NASTY),
                    side_by_side(
                        [line_chart([line, line], title=NASTY, x_label=NASTY, y_label=NASTY)]
                    ),
                    figure(contact_sheet([Tile(image=image, caption=NASTY)]), NASTY),
                ),
            ),
            Section(
                heading="Settings",
                blocks=(
                    table([NASTY, "n"], [[NASTY, 3]], NASTY),
                    configuration(NASTY, {NASTY: {NASTY: NASTY}}),
                    collapsible(NASTY, paragraph(NASTY)),
                ),
            ),
        ),
    )


def test_all_text_is_escaped_and_all_tags_are_closed():
    reader = Reader(full_page().render())
    assert "script" not in reader.tags
    assert reader.text.count(NASTY) >= 15


def test_a_page_needs_nothing_from_anywhere_else():
    html = full_page().render()
    reader = Reader(html)
    assert {"link", "iframe", "script"}.isdisjoint(reader.tags)
    for _, name, value in reader.attributes:
        if name in {"src", "href", "srcset", "xlink:href"}:
            assert value.startswith(("data:image/", "#"))
    assert "url(" not in html
    assert "@import" not in html


def test_every_entry_of_the_contents_leads_to_its_heading():
    reader = Reader(full_page().render())
    links = [value[1:] for tag, name, value in reader.attributes if (tag, name) == ("a", "href")]
    anchors = [value for tag, name, value in reader.attributes if (tag, name) == ("h2", "id")]
    assert links == anchors == ["section-1", "section-2"]


def test_number_columns_of_a_table_are_set_to_the_right():
    html = table(["model", "accuracy", "mixed"], [["a", 0.123456, 1], ["b", 2, "-"]])
    assert html.count('class="number"') == 3
    assert "0.1235" in html
    with pytest.raises(ConfigError, match="2 cells under 1 headings"):
        table(["a"], [["b", "c"]])


def test_a_table_without_rows_has_its_header():
    reader = Reader(table(["model", "accuracy"], []))
    assert reader.tags.count("th") == 2
    assert reader.tags.count("td") == 0


def test_nested_settings_are_indented_and_folded_away():
    html = configuration("All", {"seed": 0, "optim": {"lr": 0.1}, "none": {}})
    assert "<details><summary>All</summary>" in html
    assert "seed = 0\noptim\n  lr = 0.1\nnone = {}" in html


def test_a_page_is_written_whole(tmp_path):
    write_page(tmp_path / "run" / "report.html", full_page())
    assert (tmp_path / "run" / "report.html").read_text() == full_page().render()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["report.html"]


def test_a_report_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys, eosin.report.charts, eosin.report.pictures; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_page_is_known_as_ours_also_one_of_an_earlier_version_and_no_other_is_replaced(tmp_path):
    """Row 1 of the faults: another member, any HTML file was replaced by a page."""
    path, old, mine = (tmp_path / f"{name}.html" for name in ("page", "old", "mine"))
    page = Page(title="T" * 500, summary="", sections=())
    write_page(path, page)
    write_page(path, page)
    unmarked = re.sub(r'<meta name="generator"[^>]*>\n', "", path.read_text())
    assert "generator" not in unmarked
    old.write_text(unmarked)
    write_page(old, page)
    for content in ("", "<!doctype html><title>eosin</title>", "\0\xff"):
        mine.write_text(content)
        assert not is_page(mine)
        with pytest.raises(ConfigError, match=r"mine\.html is there and is not"):
            write_page(mine, page)
        assert mine.read_text() == content

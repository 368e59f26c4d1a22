from xml.etree import ElementTree

import pytest

from eosin.report.bars import MAX_BARS, count_chart

SVG = "{http://www.w3.org/2000/svg}"


def chart(counts):
    return ElementTree.fromstring(
        count_chart(counts, title="Samples", x_label="samples", name="slides")
    )


def test_bars_are_as_long_as_their_counts_from_the_largest_down():
    svg = chart([("b", 50), ("a", 100), ("none", 0)])
    widths = [
        float(bar.get("width")) for group in svg.iter(f"{SVG}g") for bar in group.iter(f"{SVG}rect")
    ]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)
    assert widths[2] == 0
    names = [next(group.iter(f"{SVG}title")).text for group in svg.iter(f"{SVG}g")]
    assert names == ["a: 100", "b: 50", "none: 0"]


def test_names_are_escaped_and_cut_where_they_are_too_long():
    svg = chart([("<b>" * 60, 3)])
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert any(text.startswith("<b>") and text.endswith("\u2026") for text in texts)


def test_thousands_are_an_outline_without_names():
    counts = [(f"slide {i}", 10_000 - i) for i in range(10_000)]
    svg = count_chart(counts, title="Samples", x_label="samples", name="slides")
    assert len(svg) < 40_000
    assert "slide 7" not in svg
    assert "slides, from the most to the least" in svg
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}polygon"))) == 1


@pytest.mark.parametrize("counts", [[], [("a", 0)], [(str(i), 0) for i in range(MAX_BARS + 1)]])
def test_nothing_counted_can_be_drawn(counts):
    assert "Samples" in [text.text for text in chart(counts).iter(f"{SVG}text")]

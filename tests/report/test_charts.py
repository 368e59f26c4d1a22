import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.report.charts import Estimate, Guides, Series, interval_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg):
    return ElementTree.fromstring(svg)


def lines_of(svg):
    """Return the points of every polyline."""
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in parsed(svg).iter(f"{SVG}polyline")
    ]


def texts_of(svg):
    return [text.text for text in parsed(svg).iter(f"{SVG}text")]


def series(y, name="loss"):
    return Series(name=name, x=tuple(map(float, range(len(y)))), y=tuple(map(float, y)))


def chart(*many, is_log_y=False):
    return line_chart(
        many, title="Loss", x_label="step", y_label="nats", is_log_y=is_log_y, width_px=500
    )


def test_a_line_goes_through_its_points_at_the_scale_of_the_axes():
    (line,) = lines_of(chart(series([0, 1, 4])))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx((y1 - y2) / 3, abs=0.2)
    assert 0 < y2 < y0 < 300


def test_a_logarithmic_axis_makes_powers_evenly_spaced():
    (line,) = lines_of(chart(series([1, 10, 100]), is_log_y=True))
    assert line[0][1] - line[1][1] == pytest.approx(line[1][1] - line[2][1], abs=0.2)


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_breaks_the_line(gap):
    svg = chart(series([1, 2, gap, 3, 4]))
    assert [len(line) for line in lines_of(svg)] == [2, 2]
    assert "nan" not in svg
    assert "inf" not in svg


def test_zero_breaks_the_line_only_where_the_axis_is_logarithmic():
    assert [len(line) for line in lines_of(chart(series([1, 2, 0, 3, 4])))] == [5]
    logarithmic = chart(series([1, 2, 0, 3, 4]), is_log_y=True)
    assert [len(line) for line in lines_of(logarithmic)] == [2, 2]


def test_a_single_point_is_a_dot():
    svg = chart(series([3.0]))
    assert lines_of(svg) == []
    assert len(list(parsed(svg).iter(f"{SVG}circle"))) == 1


@pytest.mark.parametrize("many", [(), (Series(name="a", x=(), y=()),), (series([math.nan]),)])
def test_without_a_point_the_chart_says_so(many):
    svg = chart(*many)
    assert "nothing to draw yet" in texts_of(svg)
    assert lines_of(svg) == []


def test_several_series_differ_in_colour_and_dash_and_are_named():
    svg = chart(series([1, 2], "dino"), series([2, 1], "ibot"), series([3, 1], "kde"))
    lines = list(parsed(svg).iter(f"{SVG}polyline"))
    assert len({line.get("stroke") for line in lines}) == 3
    assert len({line.get("stroke-dasharray") for line in lines}) == 3
    assert {"dino", "ibot", "kde"} <= set(texts_of(svg))


def test_title_labels_and_ticks_are_there():
    texts = texts_of(chart(series(range(50))))
    assert {"Loss", "step", "nats", "0", "20", "40"} <= set(texts)


def test_a_long_series_stays_small_and_shows_its_extremes():
    y = np.sin(np.arange(30_000) / 2700)
    y[14_321] = 5
    svg = chart(series(y))
    assert len(svg) < 40_000
    (line,) = lines_of(svg)
    assert len(line) < 200
    (band,) = parsed(svg).iter(f"{SVG}polygon")
    heights = [float(point.split(",")[1]) for point in band.get("points").split()]
    assert min(heights) < min(y for _, y in line) - 50


def test_text_is_escaped_and_the_chart_is_one_well_formed_element():
    svg = line_chart(
        [series([1, 2], "<a&b>"), series([1, 3], '"c"')],
        title="<script>alert(1)</script>",
        x_label="a<b",
        y_label="&",
    )
    assert "<script" not in svg
    assert {"<a&b>", '"c"', "a<b", "&"} <= set(texts_of(svg))
    assert parsed(svg).get("aria-label") == "<script>alert(1)</script>"


def test_a_series_with_missing_y_is_refused():
    with pytest.raises(ConfigError, match="'loss' has 2 x for 1 y"):
        Series(name="loss", x=(1.0, 2.0), y=(1.0,))


ESTIMATES = (
    Estimate(label="kNN", series="random", value=0.5, low=0.4, high=0.6),
    Estimate(label="kNN", series="trained", value=0.8, low=0.7, high=0.85),
    Estimate(label="linear", series="random", value=0.6, low=0.55, high=0.65),
    Estimate(label="linear", series="trained", value=0.7, low=math.nan, high=math.nan),
)


def dots_of(svg):
    """Return (x, y, colour) of the dots of estimates; those of the legend come first."""
    return [
        (float(dot.get("cx")), float(dot.get("cy")), dot.get("fill"))
        for group in parsed(svg).iter(f"{SVG}g")
        for dot in group.iter(f"{SVG}circle")
    ]


def test_dots_are_placed_by_value_rows_by_label_and_colours_by_series():
    svg = interval_chart(ESTIMATES, title="Accuracy", x_label="accuracy", at_least=(0.0, 1.0))
    dots = dots_of(svg)
    xs, ys, colours = zip(*dots, strict=True)
    assert xs[1] - xs[0] == pytest.approx(3 * (xs[2] - xs[0]), abs=0.3)
    assert list(ys) == sorted(ys)
    assert len(set(ys)) == 4
    assert colours[0] == colours[2] != colours[1] == colours[3]
    assert {"kNN", "linear", "random", "trained", "0.500", "0.800"} <= set(texts_of(svg))


def test_whiskers_reach_from_low_to_high_and_are_left_out_without_an_interval():
    svg = interval_chart(ESTIMATES, title="Accuracy", x_label="accuracy")
    groups = list(parsed(svg).iter(f"{SVG}g"))
    assert [len(list(group.iter(f"{SVG}line"))) for group in groups] == [3, 3, 3, 0]
    whisker = next(groups[0].iter(f"{SVG}line"))
    low, high = float(whisker.get("x1")), float(whisker.get("x2"))
    dot = float(next(groups[0].iter(f"{SVG}circle")).get("cx"))
    assert low < dot < high
    assert dot == pytest.approx((low + high) / 2, abs=0.2)


def test_the_axis_grows_to_what_intervals_need():
    svg = interval_chart(ESTIMATES, title="Accuracy", x_label="accuracy", at_least=(0.5, 0.6))
    width = float(parsed(svg).get("width"))
    for x in re.findall(r'x[12]="([-\d.]+)"', svg):
        assert 0 <= float(x) <= width


def test_a_reference_is_a_broken_line_at_its_value_with_its_name():
    svg = interval_chart(
        ESTIMATES, title="Accuracy", x_label="accuracy", reference=(0.5, "half of them")
    )
    (line,) = (line for line in parsed(svg).iter(f"{SVG}line") if line.get("stroke-dasharray"))
    assert line.get("x1") == line.get("x2") == f"{dots_of(svg)[0][0]:.1f}"
    assert "half of them" in texts_of(svg)


def test_no_estimates_give_a_chart_that_says_so():
    unknown = Estimate(label="kNN", series="a", value=math.nan, low=math.nan, high=math.nan)
    for none in ((), (unknown,)):
        svg = interval_chart(none, title="Accuracy", x_label="accuracy", reference=(0.2, "chance"))
        assert "nothing to draw yet" in texts_of(svg)


def test_a_label_too_long_for_the_chart_is_cut_where_it_is_drawn_and_spoken_in_full():
    label = "a very long name of a probe " * 5
    svg = interval_chart(
        [Estimate(label=label, series="a", value=1.0, low=0.0, high=2.0)],
        title="Accuracy",
        x_label="accuracy",
    )
    assert any(text.endswith("\u2026") for text in texts_of(svg))
    assert label in next(parsed(svg).iter(f"{SVG}g")).find(f"{SVG}title").text


def guided(*values, **guides):
    one = [series(values)]
    return line_chart(one, title="t", x_label="x", y_label="y", guides=Guides(**guides))


def test_what_is_healthy_is_shaded_from_edge_to_edge_and_open_ends_reach_the_frame():
    svg = guided(0, 1, healthy=(0.25, 0.75))
    (line,) = lines_of(svg)
    (_, healthy) = parsed(svg).iter(f"{SVG}rect")
    top, height = float(healthy.get("y")), float(healthy.get("height"))
    y0, y1 = line[0][1], line[1][1]
    assert top == pytest.approx(y1 + 0.25 * (y0 - y1), abs=0.2)
    assert height == pytest.approx(0.5 * (y0 - y1), abs=0.2)
    (_, open_end) = parsed(guided(0, 1, healthy=(0.5, math.inf))).iter(f"{SVG}rect")
    assert float(open_end.get("y")) == pytest.approx(40.0)


def test_references_are_on_the_axis_with_their_names_and_marks_stand_upright():
    svg = guided(0, 1, references=((5.0, "all alike"),), marks=(0.5, 99))
    dashed = [line for line in parsed(svg).iter(f"{SVG}line") if line.get("stroke-dasharray")]
    mark, reference = dashed
    assert mark.get("x1") == mark.get("x2")
    assert reference.get("y1") == reference.get("y2")
    assert float(reference.get("y1")) < min(y for _, y in lines_of(svg)[0])
    assert "all alike" in texts_of(svg)


def test_guides_below_zero_do_not_break_a_logarithmic_axis():
    svg = line_chart(
        [series([1, 10])],
        title="t",
        x_label="x",
        y_label="y",
        is_log_y=True,
        guides=Guides(healthy=(-math.inf, 5.0), references=((0.0, "none"),)),
    )
    assert len(lines_of(svg)) == 1
    assert "none" not in texts_of(svg)


def test_points_that_stand_for_many_show_their_extremes():
    thinned = Series(name="a", x=(0.0, 1.0), y=(1.0, 2.0), low=(0.0, 1.5), high=(4.0, 2.5))
    svg = chart(thinned)
    (line,) = lines_of(svg)
    (band,) = parsed(svg).iter(f"{SVG}polygon")
    heights = [float(point.split(",")[1]) for point in band.get("points").split()]
    assert min(heights) < min(y for _, y in line)
    assert max(heights) > max(y for _, y in line)


def test_extremes_of_some_points_only_are_refused():
    with pytest.raises(ConfigError, match="1 low and 1 high values for 2 y"):
        Series(name="a", x=(0.0, 1.0), y=(1.0, 2.0), low=(0.0,), high=(4.0,))

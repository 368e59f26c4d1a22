import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.report.axis import Axis, number_label

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6))


@given(values=st.lists(NUMBERS, min_size=1, max_size=5))
def test_ticks_are_on_the_axis_in_order_and_values_are_within_it(values):
    axis = Axis.around(values, (50.0, 500.0))
    ticks = axis.ticks(5)
    assert ticks == sorted(ticks)
    assert 2 <= len(ticks) <= 12
    for number in (*values, *ticks):
        assert 50 - 1e-3 <= axis.place(number) <= 500 + 1e-3


@given(powers=st.lists(st.floats(-9, 9), min_size=1, max_size=5))
def test_a_logarithmic_axis_has_ticks_whatever_its_range(powers):
    values = [10**power for power in powers]
    axis = Axis.around(values, (300.0, 20.0), is_log=True)
    assert 2 <= len(axis.ticks(5)) <= 12
    for number in (*values, *axis.ticks(5)):
        assert 20 - 1e-3 <= axis.place(number) <= 300 + 1e-3


def test_ticks_are_round():
    assert Axis(low=0, high=1, start_px=0, end_px=1).ticks(5) == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8, 1]
    )
    decades = Axis(low=1e-4, high=1.0, start_px=0, end_px=1, is_log=True).ticks(5)
    assert decades == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1])
    fine = Axis(low=1.0, high=30.0, start_px=0, end_px=1, is_log=True).ticks(5)
    assert fine == pytest.approx([1, 2, 5, 10, 20])


def test_equal_steps_in_the_logarithm_are_equally_far():
    axis = Axis(low=1e-2, high=1e2, start_px=0, end_px=400, is_log=True)
    places = [axis.place(10.0**power) for power in (-2, -1, 0, 1, 2)]
    assert places == pytest.approx([0, 100, 200, 300, 400])


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.0, "0"),
        (3 * 0.1, "0.3"),
        (-2.5, "\u22122.5"),
        (9999.0, "9999"),
        (20_000.0, "20k"),
        (1.5e6, "1.5M"),
        (1e-5, "1e-5"),
        (2.5e-4, "2.5e-4"),
        (0.001, "0.001"),
        (3e12, "3e12"),
    ],
)
def test_numbers_are_short(value, label):
    assert number_label(value) == label


def test_equal_values_get_room_on_both_sides():
    for value in (0.0, 7.0, -3.0):
        axis = Axis.around([value, value], (0.0, 100.0))
        assert math.isclose(axis.place(value), 50.0)

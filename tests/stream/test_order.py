from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from eosin.errors import ConfigError
from eosin.stream.order import LaneOrder

orders = st.builds(
    LaneOrder,
    num_slides=st.integers(1, 12),
    seed=st.integers(0, 9),
    slide_sampling=st.sampled_from(["sequential", "random"]),
    cycle=st.just(True),
    num_lanes=st.integers(1, 4),
    pool_size=st.integers(1, 5),
    patches_per_slide=st.integers(1, 7),
    patches_per_visit=st.integers(1, 9),
)
finite_orders = st.builds(
    LaneOrder,
    num_slides=st.integers(1, 12),
    seed=st.integers(0, 9),
    slide_sampling=st.sampled_from(["sequential", "random"]),
    pool_size=st.integers(1, 5),
    patches_per_slide=st.integers(1, 7),
    patches_per_visit=st.integers(1, 9),
)


def first_slide(order, index):
    return next(order.slides_of(index))


def samples_of_window(order, lane, window):
    """Return the numbers of a lane's samples in one of its windows."""
    size = order.pool_size * order.patches_per_slide
    skipped = lane * size // order.num_lanes
    begin = window * size - skipped
    return [position * order.num_lanes + lane for position in range(max(0, begin), begin + size)]


@given(order=finite_orders)
def test_a_finite_stream_visits_every_slide_equally(order):
    slides = Counter(first_slide(order, index) for index in range(order.num_samples))
    assert slides == dict.fromkeys(range(order.num_slides), order.patches_per_slide)


@given(order=orders, lane=st.integers(0, 3), window=st.integers(1, 5))
def test_each_slot_of_a_window_gives_the_same_number_of_samples(order, lane, window):
    lane %= order.num_lanes
    slots = Counter(order.slot_of(index) for index in samples_of_window(order, lane, window))
    first = window * order.pool_size
    expected = [(first + n) * order.num_lanes + lane for n in range(order.pool_size)]
    assert slots == dict.fromkeys(expected, order.patches_per_slide)


@given(order=orders, number=st.integers(0, 5))
def test_every_pass_has_every_slide_once(order, number):
    slots = range(number * order.num_slides, (number + 1) * order.num_slides)
    assert sorted(order.slide_of_slot(slot) for slot in slots) == list(range(order.num_slides))


@given(order=orders, lane=st.integers(0, 3), window=st.integers(1, 3))
def test_a_windows_slots_take_turns_a_visit_at_a_time(order, lane, window):
    slots = [order.slot_of(i) for i in samples_of_window(order, lane % order.num_lanes, window)]
    visit = min(order.patches_per_visit, order.patches_per_slide)
    given_so_far = Counter()
    while slots:
        visit = min(visit, order.patches_per_slide - given_so_far[slots[0]])
        this_round = slots[: visit * order.pool_size]
        assert this_round == [slot for slot in dict.fromkeys(this_round) for _ in range(visit)]
        assert len(set(this_round)) == order.pool_size
        given_so_far.update(this_round)
        slots = slots[visit * order.pool_size :]


@given(order=orders, index=st.integers(0, 500))
def test_a_sample_belongs_to_its_lane(order, index):
    assert order.slot_of(index) % order.num_lanes == index % order.num_lanes


def test_lanes_turn_to_their_next_windows_at_different_times():
    order = LaneOrder(num_slides=50, cycle=True, num_lanes=4, pool_size=2, patches_per_slide=6)
    turns = []
    for lane in range(4):
        windows = [order.slot_of(n * 4 + lane) // 4 // 2 for n in range(12)]
        turns.append(next(n for n in range(12) if windows[n] != windows[0]) if lane else 12)
    assert turns == [12, 9, 6, 3]


@given(order=orders | finite_orders, index=st.integers(0, 83))
def test_every_slide_is_among_those_to_try_and_none_twice(order, index):
    index %= order.num_samples or 84
    slides = list(order.slides_of(index))
    assert slides[0] == order.slide_of_slot(order.slot_of(index))
    assert sorted(slides) == list(range(order.num_slides))


def test_the_first_substitutes_are_the_next_of_the_lane():
    order = LaneOrder(num_slides=20, cycle=True, num_lanes=2, pool_size=3)
    assert list(islice(order.slides_of(0), 4))[:3] == [0, 2, 4]
    assert list(islice(order.slides_of(1), 4))[:3] != [0, 2, 4]


def test_one_slide_is_enough_for_any_number_of_lanes():
    order = LaneOrder(num_slides=1, cycle=True, num_lanes=8, pool_size=8)
    assert {first_slide(order, index) for index in range(5000)} == {0}


def test_passes_are_permuted_anew_and_by_seed():
    def passes(seed):
        order = LaneOrder(num_slides=30, seed=seed, slide_sampling="random", cycle=True)
        return [tuple(order.slide_of_slot(30 * n + slot) for slot in range(30)) for n in range(3)]

    assert len({*passes(0), *passes(1)}) == 6
    assert passes(0) == passes(0)


def test_the_slide_of_a_sample_is_found_without_listing_all(monkeypatch):
    asked = []
    real = LaneOrder.slide_of_slot
    monkeypatch.setattr(
        LaneOrder, "slide_of_slot", lambda order, slot: asked.append(slot) or real(order, slot)
    )
    first_slide(LaneOrder(num_slides=100_000, cycle=True), 12345)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"num_lanes": 0, "cycle": True},
        {"pool_size": 0},
        {"patches_per_slide": 0},
        {"patches_per_visit": 0},
        {"num_lanes": 2},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        LaneOrder(num_slides=3, **setting)


# Weights


def weighted(weights, **settings):
    return LaneOrder(
        num_slides=len(weights),
        slide_sampling="random",
        cycle=True,
        weights=np.asarray(weights, float),
        **settings,
    )


def test_slides_are_drawn_as_often_as_they_weigh():
    weights = [0.0, 5.0, 1.0, 0.0, 3.0, 1.0]
    order = weighted(weights, seed=3)
    drawn = Counter(order.slide_of_slot(slot) for slot in range(4000))
    assert set(drawn) == {1, 2, 4, 5}
    expected = [4000 * weight / 10 for weight in (5, 1, 3, 1)]
    assert chisquare([drawn[n] for n in (1, 2, 4, 5)], expected).pvalue > 0.01


def test_a_slot_of_a_weighted_order_is_pure():
    forward, backward = weighted([1, 2, 3]), weighted([1, 2, 3])
    slots = [forward.slide_of_slot(slot) for slot in range(50)]
    assert [backward.slide_of_slot(slot) for slot in reversed(range(50))] == slots[::-1]
    assert slots != [weighted([1, 2, 3], seed=1).slide_of_slot(slot) for slot in range(50)]


def test_substitutes_end_with_every_slide_that_has_a_weight():
    order = weighted([1e-9, 0.0, 1.0, 1.0, 0.0, 1e-9], num_lanes=2, pool_size=3)
    for index in range(40):
        assert sorted(order.slides_of(index)) == [0, 2, 3, 5]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"weights": np.ones(2)}, "3 numbers"),
        ({"weights": np.array([1, -1, 1.0])}, "from 0 up"),
        ({"weights": np.array([1, np.nan, 1.0])}, "from 0 up"),
        ({"weights": np.zeros(3)}, "all 0"),
        ({"slide_sampling": "sequential"}, "slide_sampling='random'"),
        ({"cycle": False}, "cycle=True"),
    ],
    ids=str,
)
def test_weights_that_make_no_sense_are_refused(change, what):
    settings = {"weights": np.ones(3), "slide_sampling": "random", "cycle": True, **change}
    with pytest.raises(ConfigError, match=what):
        LaneOrder(num_slides=3, **settings)


# Turns and windows


@given(order=orders, lane=st.integers(0, 3), window=st.integers(1, 4))
def test_the_samples_of_a_visit_are_numbered(order, lane, window):
    visits = {}
    for index in samples_of_window(order, lane % order.num_lanes, window):
        turn = order.turn_of(index)
        visits.setdefault(turn.slot, []).append(turn.number)
    assert len(visits) == order.pool_size
    assert all(v == list(range(order.patches_per_slide)) for v in visits.values())


@settings(max_examples=30)
@given(
    num_slides=st.integers(1, 7),
    num_lanes=st.integers(1, 4),
    pool_size=st.integers(1, 3),
    patches_per_slide=st.integers(1, 5),
    index=st.integers(0, 80),
)
def test_slots_of_windows_before_and_after_a_sample_are_told_apart(
    num_slides, num_lanes, pool_size, patches_per_slide, index
):
    order = LaneOrder(
        num_slides=num_slides,
        cycle=True,
        num_lanes=num_lanes,
        pool_size=pool_size,
        patches_per_slide=patches_per_slide,
    )
    begin, end = order.slots_around(index)
    slots = {i: order.slot_of(i) for i in range(240)}
    before = {slot for i, slot in slots.items() if order.window_start(i) < index}
    after = {slot for i, slot in slots.items() if order.window_start(i) >= index}
    assert min(after) >= begin
    assert max(before, default=-1) < end
    # Bounds that are too wide would leave out visits; a window's slots are the closest they can be.
    of_window = num_lanes * pool_size
    assert min(after) - begin < of_window
    assert end - 1 - max(before, default=end - 1) < of_window


def test_tiny_weights_beside_large_ones_are_not_lost_in_rounding():
    weights = np.full(50_000, 1e-4, np.float32)
    weights[0] = 1e4
    order = LaneOrder(num_slides=50_000, cycle=True, slide_sampling="random", weights=weights)
    drawn = Counter(order.slide_of_slot(slot) > 0 for slot in range(20_000))
    # 10 expected: all of them together weigh a two-thousandth of the first.
    assert 2 < drawn[True] < 25


@given(order=orders, lane=st.integers(0, 3), window=st.integers(1, 4))
def test_a_window_begins_with_its_first_sample(order, lane, window):
    samples = samples_of_window(order, lane % order.num_lanes, window)
    assert {order.window_start(index) for index in samples} == {samples[0]}


@given(order=orders | finite_orders, index=st.integers(0, 83))
def test_the_slides_at_hand_are_those_of_the_window(order, index):
    index %= order.num_samples or 84
    pool = list(order.pool_of(index))
    assert pool[0] == order.slide_of_slot(order.slot_of(index))
    assert len(pool) == len(set(pool)) <= order.pool_size
    assert list(order.slides_of(index))[: len(pool)] == pool

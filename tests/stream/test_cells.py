from collections import Counter
from dataclasses import dataclass
from itertools import combinations, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from eosin.backends import SyntheticBackend
from eosin.errors import StreamStalledError
from eosin.filters import PatchFilter
from eosin.sampling import MultiMagnificationSampler, RandomSampler
from eosin.stream.cells import Deal, shuffled
from made_slides import names, synthetic_pipeline


@given(size=st.integers(1, 300), key=st.integers(0, 2**64 - 1))
def test_shuffling_sends_every_position_to_another(size, key):
    assert sorted(shuffled(position, size, key) for position in range(size)) == list(range(size))


@pytest.mark.parametrize("size", [5, 6, 37])
def test_shuffling_sends_a_position_anywhere_alike(size):
    for position in (0, size - 1):
        places = Counter(shuffled(position, size, key) for key in range(60 * size))
        assert chisquare([places[n] for n in range(size)]).pvalue > 0.001


def test_shuffling_sends_two_positions_to_any_pair_alike():
    pairs = Counter((shuffled(0, 5, key), shuffled(1, 5, key)) for key in range(2500))
    assert len(pairs) == 20
    assert chisquare(list(pairs.values())).pvalue > 0.001


deals = {"num_cells": st.integers(1, 400), "per_visit": st.integers(1, 30)}


def cells_of(deal):
    dealt = []
    while (cell := deal.cell(len(dealt))) is not None:
        dealt.append(cell)
    return dealt


@given(**deals, visit=st.integers(0, 20))
def test_the_samples_of_a_visit_share_cells_out_and_none_twice(num_cells, per_visit, visit):
    dealt = [
        cell
        for number in range(per_visit)
        for cell in cells_of(
            Deal(
                num_cells=num_cells, number=number, per_visit=per_visit, visit=visit, key=5, spare=8
            )
        )
    ]
    assert len(dealt) == len(set(dealt))
    # All of them, or with many enough this visit's share of all.
    num_visits = max(1, num_cells // (8 * per_visit))
    assert num_cells // num_visits - per_visit <= len(dealt) <= num_cells


@given(**deals, number=st.integers(0, 29))
def test_visits_share_a_slide_out_before_it_is_shuffled_anew(num_cells, per_visit, number):
    num_visits = max(1, num_cells // (8 * per_visit))
    number %= per_visit
    dealt = [
        cell
        for visit in range(num_visits)
        for cell in cells_of(
            Deal(
                num_cells=num_cells, number=number, per_visit=per_visit, visit=visit, key=5, spare=8
            )
        )
    ]
    assert len(dealt) == len(set(dealt))


# In a stream


@dataclass(frozen=True, kw_only=True)
class Odd(PatchFilter):
    """Turns away a third of the cells of synthetic slides, by their column."""

    def accept(self, image):
        return bool((int(image[0, 0, 0]) // 32) % 3 != 0)


def stream(num_slides=3, **settings):
    defaults = {
        "sampler": RandomSampler(patch_size=32),
        "replacement": "without_replacement",
        "cycle": True,
        "slide_sampling": "random",
        "patches_per_slide": 20,
    }
    return synthetic_pipeline(num_slides, **{**defaults, **settings})


def overlap(one, other):
    """Return whether two patches share level-0 pixels of a slide."""
    if one.slide_path != other.slide_path:
        return False
    sides = [at.read_width * (4 if at.level else 1) for at in (one, other)]
    return all(
        a < b + sides[1] and b < a + sides[0] for a, b in ((one.x, other.x), (one.y, other.y))
    )


@pytest.mark.parametrize("num_threads", [0, 2])
def test_no_place_is_delivered_twice_until_a_slide_is_used_up(num_threads):
    # A slide has about 2900 cells, and so eighteen visits before it is shuffled anew.
    drawn = [r.coordinate for r in islice(stream(num_threads=num_threads), 500)]
    assert len(set(drawn)) == 500
    assert not any(overlap(a, b) for a, b in combinations(drawn[:150], 2))
    assert Counter(at.slide_path for at in drawn).keys() == set(names(3))


def test_samples_without_replacement_are_pure_and_rejections_take_no_others_cell():
    drawn = [r.coordinate for r in islice(stream(patch_filter=Odd()), 200)]
    assert len(set(drawn)) == 200
    alone = stream(patch_filter=Odd())
    assert [alone.read(i).coordinate for i in range(0, 200, 17)] == drawn[::17]


def test_places_without_replacement_are_spread_evenly():
    drawn = [r.coordinate for r in islice(stream(1, patches_per_slide=50), 500)]
    halves = Counter((at.x < 2000, at.y < 1500) for at in drawn)
    assert chisquare(list(halves.values())).pvalue > 0.001


def test_magnifications_have_cells_of_their_own():
    sampler = MultiMagnificationSampler(target_mpps=(0.25, 1.0), patch_size=32)
    # One visit to each of two slides: a second one deals the few coarse cells again.
    drawn = [r.coordinate for r in islice(stream(sampler=sampler, patches_per_slide=60), 120)]
    for mpp in (0.25, 1.0):
        of_mpp = [at for at in drawn if at.mpp == mpp]
        assert len(of_mpp) > 40
        assert not any(overlap(a, b) for a, b in combinations(of_mpp, 2))


def test_a_slide_that_is_used_up_is_substituted_and_that_is_counted():
    small = SyntheticBackend(tissue_box=(0.5, 0.5, 0.55, 0.55))
    pipeline = stream(2, backend=small, sampler=RandomSampler(patch_size=64))
    results = list(islice(pipeline, 80))
    assert len(results) == 80
    assert pipeline.stats.rejections["cells used up"] > 20
    first_visits = [r.coordinate for r in results[:40] if not r.rejections]
    assert 2 < len(first_visits) == len(set(first_visits))


def test_tissue_without_a_whole_cell_stops_the_stream_and_says_so():
    tiny = SyntheticBackend(tissue_box=(0.5, 0.5, 0.51, 0.51))
    with pytest.raises(StreamStalledError, match="no cell of its grid at 2 um/px"):
        next(iter(stream(backend=tiny, sampler=RandomSampler(patch_size=256, target_mpp=2.0))))


def few_cells(num_samples):
    """Return places of a lone slide of 48 cells."""
    backend = SyntheticBackend(width_l0=640, height_l0=480, tissue_box=(0.0, 0.0, 1.0, 1.0))
    pipeline = stream(
        1, backend=backend, sampler=RandomSampler(patch_size=80), patches_per_slide=48, pool_size=1
    )
    return Counter((r.coordinate.x, r.coordinate.y) for r in islice(pipeline, num_samples))


def test_without_a_filter_a_visit_gives_every_cell_of_its_slide_once():
    assert set(few_cells(48).values()) == {1}
    assert len(few_cells(48)) == 48


def test_a_lone_slide_whose_cells_are_used_up_is_dealt_anew_and_nothing_stalls():
    drawn = few_cells(5 * 48)
    assert len(drawn) == 48
    assert set(drawn.values()) == {5}


def test_a_visit_longer_than_a_slide_has_cells_deals_them_anew():
    backend = SyntheticBackend(width_l0=640, height_l0=480, tissue_box=(0.0, 0.0, 1.0, 1.0))
    sampler = RandomSampler(patch_size=80)
    pipeline = stream(1, backend=backend, sampler=sampler, patches_per_slide=100, cycle=False)
    drawn = Counter((r.coordinate.x, r.coordinate.y) for r in pipeline)
    assert drawn.total() == 100
    assert set(drawn.values()) == {2, 3}

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from eosin.tissue.mask import Extent, TissueMask

masks = st.integers(1, 7).flatmap(
    lambda rows: st.integers(1, 7).flatmap(
        lambda columns: st.lists(
            st.booleans(), min_size=rows * columns, max_size=rows * columns
        ).map(lambda cells: np.array(cells).reshape(rows, columns))
    )
)


def overlap(begin, end, num_cells, cell):
    """Return how much of each cell an interval covers."""
    edges = np.arange(num_cells + 1) * cell
    return np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin), 0, None)


def brute_fraction(mask, width, height, x, y, extent):
    rows, columns = mask.shape
    over_x = overlap(x, x + extent.width_l0, columns, width / columns)
    over_y = overlap(y, y + extent.height_l0, rows, height / rows)
    return (over_y @ mask @ over_x) / (extent.width_l0 * extent.height_l0)


@given(
    mask=masks,
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    x=st.integers(-100, 600),
    y=st.integers(-100, 600),
    extent=st.tuples(st.floats(0.5, 700), st.floats(0.5, 700)).map(lambda pair: Extent(*pair)),
)
def test_the_tissue_share_of_a_window_is_exact(mask, width, height, x, y, extent):
    tissue = TissueMask(mask, width_l0=width, height_l0=height)
    expected = brute_fraction(mask, width, height, x, y, extent)
    assert tissue.fraction(x, y, extent) == pytest.approx(expected, abs=2e-8)


@given(
    width=st.integers(50, 5000), x=st.integers(0, 25), y=st.integers(0, 25),
    size=st.floats(1.0, 25.0),
)  # fmt: skip
def test_a_window_in_the_middle_of_tissue_passes_a_threshold_of_one(width, x, y, size):
    tissue = TissueMask(np.ones((7, 11), bool), width_l0=width, height_l0=53)
    extent = Extent(size, size)
    assert tissue.fraction(x, y, extent) == 1
    assert tissue.draw_place(np.random.default_rng(x), extent, 1.0) is not None


@given(
    mask=masks,
    cell=st.floats(1.0, 9.0),
    extent=st.tuples(st.floats(1.0, 40.0), st.floats(1.0, 40.0)).map(lambda pair: Extent(*pair)),
    threshold=st.floats(0.05, 1.0),
    seed=st.integers(0, 99),
    sizes_vary=st.booleans(),
)
def test_a_drawn_place_lies_in_the_slide_and_has_enough_tissue(
    mask, cell, extent, threshold, seed, sizes_vary
):
    width, height = max(1, int(mask.shape[1] * cell)), max(1, int(mask.shape[0] * cell))
    tissue = TissueMask(mask, width_l0=width, height_l0=height)
    rng = np.random.default_rng(seed)
    place = tissue.draw_place(rng, extent, threshold, sizes_vary=sizes_vary)
    every_place = [
        (x, y)
        for x in range(max(0, int(width - extent.width_l0) + 1))
        for y in range(max(0, int(height - extent.height_l0) + 1))
    ]
    valid = [at for at in every_place if tissue.fraction(*at, extent) >= threshold]
    if place is None:
        # Places that are hard to hit may be missed, but not many of them.
        assert len(valid) <= 0.05 * len(every_place) + 2
    else:
        assert place in valid


def test_the_only_place_that_there_is_is_found():
    tissue = TissueMask(np.ones((7, 9), bool), width_l0=100, height_l0=90)
    assert tissue.draw_place(np.random.default_rng(0), Extent(100.0, 90.0), 1.0) == (0, 0)


@pytest.mark.parametrize("sizes_vary", [False, True])
@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.9])
def test_places_are_drawn_uniformly_among_all_that_have_enough_tissue(threshold, sizes_vary):
    mask = np.array([[0, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 1]], bool)
    tissue, extent = TissueMask(mask, width_l0=20, height_l0=16), Extent(6.0, 3.0)
    valid = [
        (x, y) for x in range(15) for y in range(14) if tissue.fraction(x, y, extent) >= threshold
    ]
    assert 5 < len(valid) < 224
    rng = np.random.default_rng(1)
    drawn = [
        tissue.draw_place(rng, extent, threshold, sizes_vary=sizes_vary)
        for _ in range(30 * len(valid))
    ]
    assert set(drawn) == set(valid)
    assert chisquare([drawn.count(place) for place in valid]).pvalue > 0.01


def blob(rows: int, columns: int) -> np.ndarray:
    """Make tissue with holes, islands and a ragged rim."""
    rng = np.random.default_rng(3)
    coarse = rng.normal(size=(rows // 8, columns // 8)).astype(np.float32)
    return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC) > 0.6


@pytest.mark.parametrize("sizes_vary", [False, True])
def test_places_are_uniform_over_the_valid_area_of_a_ragged_mask(sizes_vary):
    mask = blob(61, 83)
    tissue = TissueMask(mask, width_l0=83 * 7, height_l0=61 * 7 + 3)
    extent, threshold = Extent(40.0, 40.0), 0.4
    over_x, over_y = (
        np.array([overlap(at, at + 40, num_cells, side / num_cells) for at in range(side - 39)])
        for num_cells, side in zip((83, 61), (tissue.width_l0, tissue.height_l0), strict=True)
    )
    valid = over_y @ mask @ over_x.T / 40**2 >= threshold
    rng = np.random.default_rng(5)
    places = [
        tissue.draw_place(rng, extent, threshold, sizes_vary=sizes_vary) for _ in range(8_000)
    ]
    # Squares of 25 px: the expected count of each is its share of all valid corners.
    counts, expected = (
        np.add.reduceat(np.add.reduceat(of, np.arange(0, of.shape[0], 25), 0),
                        np.arange(0, of.shape[1], 25), 1).ravel()
        for of in (histogram(places, valid.shape), valid.astype(float))
    )  # fmt: skip
    assert counts[expected == 0].sum() == 0
    often = expected * len(places) / expected.sum() >= 5
    counts, expected = counts[often], expected[often]
    assert often.sum() > 100
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 0.01


def histogram(places, shape):
    counts = np.zeros(shape)
    for x, y in places:
        counts[y, x] += 1
    return counts


def test_a_mask_that_crosses_processes_gives_the_same_places():
    tissue = TissueMask(blob(100, 80), width_l0=8000, height_l0=10_000)
    extent = Extent(700.0, 700.0)
    assert tissue.draw_place(np.random.default_rng(0), extent, 0.4) is not None
    again = pickle.loads(pickle.dumps(tissue))
    places = [
        [mask.draw_place(np.random.default_rng(seed), extent, 0.4) for seed in range(20)]
        for mask in (tissue, again)
    ]
    assert places[0] == places[1]
    assert np.array_equal(again.mask, tissue.mask)


def test_a_mask_says_its_shape_and_whether_it_is_empty():
    for mask in (np.zeros((5, 9), bool), np.eye(5, 9, dtype=bool)):
        tissue = TissueMask(mask, width_l0=90, height_l0=50)
        assert tissue.shape == (5, 9)
        assert tissue.is_empty == (not mask.any())
        assert tissue.tissue_fraction == mask.mean()


def test_windows_of_ever_new_sizes_take_bounded_memory():
    tissue = TissueMask(blob(200, 200), width_l0=6400, height_l0=6400)
    rng = np.random.default_rng(0)
    sizes = rng.uniform(200, 2000, 300)
    searched = [tissue.draw_place(rng, Extent(s, s), 0.1, sizes_vary=True) for s in sizes[:100]]
    few = tissue.num_bytes
    assert None not in searched
    for size in sizes[100:]:
        assert tissue.draw_place(rng, Extent(size, size), 0.1) is not None
    assert few < tissue.num_bytes < 10 * few


def test_tissue_on_half_a_percent_of_a_slide_is_found_every_time():
    mask = np.zeros((400, 400), bool)
    mask[300:328, 40:68] = True
    tissue = TissueMask(mask, width_l0=40_000, height_l0=40_000)
    assert tissue.tissue_fraction < 0.005
    rng = np.random.default_rng(0)
    places = [tissue.draw_place(rng, Extent(256.0, 256.0), 0.4) for _ in range(300)]
    assert None not in places


def test_a_slide_of_half_a_percent_tissue_gives_places_as_fast_as_a_full_one():
    small = np.zeros((400, 400), bool)
    small[300:328, 40:68] = True
    draws = []
    for mask in (small, np.ones((400, 400), bool)):
        rng = CountedDraws(np.random.PCG64(0))
        tissue = TissueMask(mask, width_l0=40_000, height_l0=40_000)
        for _ in range(300):
            tissue.draw_place(rng, Extent(1024.0, 1024.0), 0.4)
        draws.append(rng.num_draws / 300)
    assert draws[1] == 1
    assert draws[0] < 2


class CountedDraws(np.random.Generator):
    num_draws = 0

    def integers(self, *args, **kwargs):
        self.num_draws += 1
        return super().integers(*args, **kwargs)


def test_a_slide_without_enough_tissue_or_room_has_no_place():
    rng = np.random.default_rng(0)
    empty = TissueMask(np.zeros((8, 8), bool), width_l0=80, height_l0=80)
    full = TissueMask(np.ones((8, 8), bool), width_l0=80, height_l0=80)
    one_cell = TissueMask(np.eye(1, 64, dtype=bool).reshape(8, 8), width_l0=80, height_l0=80)
    assert empty.draw_place(rng, Extent(20.0, 20.0), 0.1) is None
    assert full.draw_place(rng, Extent(81.0, 20.0), 0.1) is None
    assert one_cell.draw_place(rng, Extent(40.0, 40.0), 0.4) is None


def test_without_a_threshold_glass_is_as_good_as_tissue():
    empty = TissueMask(np.zeros((8, 8), bool), width_l0=80, height_l0=80)
    assert empty.draw_place(np.random.default_rng(0), Extent(20.0, 20.0), 0.0) is not None

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.tissue.sums import MaskSums, integral


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 9))
def test_the_sum_at_every_grid_point_is_exact_and_the_mask_comes_back(rows, columns, seed):
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    sums = MaskSums(mask)
    for row in range(rows + 1):
        for column in range(columns + 1):
            assert sums.at(row, column) == mask[:row, :column].sum()
    assert (sums.mask() == mask).all()
    assert sums.mask().dtype == bool
    assert sums.shape == mask.shape


@pytest.mark.parametrize("shape", [(4096, 4096), (12_000, 9), (9, 12_000)])
def test_sums_of_large_full_masks_are_exact(shape):
    sums = MaskSums(np.ones(shape, bool))
    rng = np.random.default_rng(0)
    for _ in range(500):
        row, column = (int(rng.integers(side + 1)) for side in shape)
        assert sums.at(row, column) == row * column
    assert sums.at(*shape) == shape[0] * shape[1]


def test_a_mask_and_its_sums_take_less_memory_than_booleans():
    assert MaskSums(np.ones((4096, 4096), bool)).num_bytes < 0.72 * 4096**2


def test_masks_that_are_views_of_others_are_summed_right():
    wide = np.random.default_rng(0).random((30, 60)) < 0.5
    for view in (wide[::2, ::3], wide.T, wide[:, ::-1]):
        assert MaskSums(view).at(*view.shape) == view.sum()
        assert integral(view)[-1, -1] == view.sum()

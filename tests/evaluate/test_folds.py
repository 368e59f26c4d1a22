import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.errors import ConfigError
from eosin.evaluate.folds import grouped_folds


@settings(max_examples=50, deadline=None)
@given(num_groups=st.integers(2, 15), num_folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_no_group_is_cut_and_no_fold_is_empty(num_groups, num_folds, seed):
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, 60)])
    labels = rng.integers(0, 3, len(group))
    folds = grouped_folds(labels, [str(g) for g in group], num_folds, seed)
    assert len({(g, f) for g, f in zip(group, folds, strict=True)}) == num_groups
    assert sorted(set(folds.tolist())) == list(range(min(num_folds, num_groups)))


def test_single_samples_are_spread_evenly_over_folds_in_every_class():
    labels = np.repeat([0, 1], [200, 25])
    folds = grouped_folds(labels, [str(i) for i in range(225)], 5, seed=3)
    for label, expected in ((0, 40), (1, 5)):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert abs(counts - expected).max() <= 1


def test_the_seed_deals_the_groups():
    labels, groups = np.zeros(40, dtype=int), [str(i) for i in range(40)]
    first = grouped_folds(labels, groups, 4, seed=0)
    np.testing.assert_array_equal(first, grouped_folds(labels, groups, 4, seed=0))
    assert (first != grouped_folds(labels, groups, 4, seed=1)).any()


def test_one_group_cannot_be_folded():
    with pytest.raises(ConfigError, match="two groups"):
        grouped_folds(np.array([0, 1]), ["a", "a"], 5, seed=0)

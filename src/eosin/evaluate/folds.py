"""Folds for cross-validation that keep each slide or patient whole."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int64

from eosin.errors import ConfigError


def grouped_folds(
    labels: Int[np.ndarray, " samples"], groups: Sequence[str], num_folds: int, seed: int
) -> Int64[np.ndarray, " samples"]:
    """Return the fold of each sample: no group is cut, classes are spread as evenly as that allows.

    Groups are dealt from the largest to the smallest, in an order among equals drawn from the seed,
    each to the fold whose class counts then exceed an even share least. With fewer groups than
    folds each group is a fold.

    Raises:
        ConfigError: If there are fewer than two groups or folds.
    """
    if num_folds < 2:
        raise ConfigError(f"num_folds={num_folds} must be 2 or more")
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    num_folds = min(num_folds, len(names))
    if num_folds < 2:
        raise ConfigError(
            "cross-validation needs two groups (slides or patients) at least, there is one; "
            "give c a number instead of 'auto'"
        )
    counts = np.zeros((len(names), labels.max() + 1))
    np.add.at(counts, (group, labels), 1)
    # A rare class weighs as much as a common one.
    counts /= np.maximum(counts.sum(axis=0), 1)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    fold_counts = np.zeros((num_folds, counts.shape[1]))
    fold_of_group = np.empty(len(names), dtype=np.int64)
    for index in order:
        # Growth of the sum of squares, were the group dealt to each fold.
        growth = (2 * fold_counts + counts[index]) @ counts[index]
        fold = int(growth.argmin())
        fold_counts[fold] += counts[index]
        fold_of_group[index] = fold
    return fold_of_group[group]

import numpy as np
import pytest

from eosin.errors import ConfigError
from eosin.evaluate.bootstrap import Bootstrap
from eosin.evaluate.metrics import accuracy, balanced_accuracy, confusion_matrix


def study(seed, num_groups=12, per_group=40, skill=0.7):
    """Draw a study whose slides differ in difficulty."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, num_groups * per_group)
    right = rng.beta(14 * skill, 14 * (1 - skill), num_groups).repeat(per_group)
    predictions = np.where(rng.random(len(targets)) < right, targets, (targets + 1) % 3)
    return targets, predictions, [str(i) for i in np.arange(num_groups).repeat(per_group)]


def test_a_cluster_bootstrap_agrees_with_one_drawn_group_by_group():
    targets, predictions, groups = study(0, num_groups=8)
    rows = [np.flatnonzero(np.array(groups) == name) for name in sorted(set(groups))]
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(3000):
        picked = np.concatenate([rows[index] for index in rng.integers(0, 8, 8)])
        confusion = confusion_matrix(targets[picked], predictions[picked], 3)
        drawn.append(float(balanced_accuracy(confusion)))
    ours = Bootstrap().interval(balanced_accuracy, targets, predictions, groups)
    np.testing.assert_allclose([ours.low, ours.high], np.quantile(drawn, [0.025, 0.975]), atol=0.01)


def test_with_one_sample_a_group_it_agrees_with_the_plain_bootstrap():
    targets, predictions, _ = study(1)
    right = targets == predictions
    rng = np.random.default_rng(5)
    drawn = [right[rng.integers(0, len(right), len(right))].mean() for _ in range(4000)]
    own_groups = [str(index) for index in range(len(targets))]
    ours = Bootstrap().interval(accuracy, targets, predictions, own_groups)
    assert ours.value == pytest.approx(right.mean())
    np.testing.assert_allclose([ours.low, ours.high], np.quantile(drawn, [0.025, 0.975]), atol=5e-3)


def test_patches_of_one_slide_are_not_counted_as_independent():
    targets, predictions, groups = study(2)
    by_slide = Bootstrap().interval(accuracy, targets, predictions, groups)
    alone = [str(index) for index in range(len(targets))]
    by_patch = Bootstrap().interval(accuracy, targets, predictions, alone)
    assert by_slide.high - by_slide.low > 1.5 * (by_patch.high - by_patch.low)


def test_about_nineteen_of_twenty_intervals_hold_the_truth():
    held = 0
    for seed in range(300):
        interval = Bootstrap(num_resamples=500).interval(accuracy, *study(seed, num_groups=40))
        held += interval.low <= 0.7 <= interval.high
    assert 0.88 <= held / 300 <= 0.98


def test_a_paired_difference_is_narrower_than_its_parts_and_has_the_sign_of_second_minus_first():
    targets, first, groups = study(3)
    better = np.where(np.random.default_rng(0).random(len(targets)) < 0.2, targets, first)
    bootstrap = Bootstrap()
    difference = bootstrap.paired_difference(accuracy, targets, (first, better), groups)
    alone = bootstrap.interval(accuracy, targets, first, groups)
    assert difference.value == pytest.approx((better == targets).mean() - (first == targets).mean())
    assert difference.low > 0
    assert difference.excludes_zero
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)
    backwards = bootstrap.paired_difference(accuracy, targets, (better, first), groups)
    assert backwards.value == pytest.approx(-difference.value)
    assert backwards.excludes_zero


def test_a_model_does_not_differ_from_itself():
    targets, first, groups = study(4)
    same = Bootstrap().paired_difference(balanced_accuracy, targets, (first, first), groups)
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert not same.excludes_zero


def test_the_seed_decides_the_interval_and_the_order_of_samples_does_not():
    targets, predictions, groups = study(5)
    one = Bootstrap(seed=1).interval(accuracy, targets, predictions, groups)
    assert one == Bootstrap(seed=1).interval(accuracy, targets, predictions, groups)
    assert one != Bootstrap(seed=2).interval(accuracy, targets, predictions, groups)
    order = np.random.default_rng(0).permutation(len(targets))
    shuffled = [groups[index] for index in order]
    assert one == Bootstrap(seed=1).interval(accuracy, targets[order], predictions[order], shuffled)


def test_chunks_of_resamples_change_nothing(monkeypatch):
    whole = Bootstrap().interval(balanced_accuracy, *study(6))
    monkeypatch.setattr("eosin.evaluate.bootstrap.MAX_DRAWN", 1000)
    assert Bootstrap().interval(balanced_accuracy, *study(6)) == whole


def test_a_wider_confidence_gives_a_wider_interval():
    wide = Bootstrap(confidence=0.99).interval(accuracy, *study(7))
    narrow = Bootstrap(confidence=0.5).interval(accuracy, *study(7))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_ten_thousand_resamples_of_twelve_groups_are_all_counted():
    interval = Bootstrap().interval(balanced_accuracy, *study(8))
    assert (interval.num_groups, interval.num_resamples) == (12, 10_000)


def test_one_group_has_a_value_but_no_range():
    interval = Bootstrap().interval(accuracy, *study(9, num_groups=1))
    assert 0 < interval.value < 1
    assert np.isnan([interval.low, interval.high]).all()
    assert not interval.excludes_zero


def test_bad_settings_and_samples_are_refused():
    with pytest.raises(ConfigError, match="num_resamples=7"):
        Bootstrap(num_resamples=7)
    with pytest.raises(ConfigError, match="confidence=95"):
        Bootstrap(confidence=95.0)
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(ConfigError, match="no samples"):
        Bootstrap().interval(accuracy, nothing, nothing, [])
    targets, predictions, groups = study(0)
    with pytest.raises(ConfigError, match="groups for"):
        Bootstrap().interval(accuracy, targets, predictions, groups[1:])

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from eosin.errors import ConfigError, InputError
from eosin.evaluate.bootstrap import Bootstrap
from eosin.evaluate.knn import Knn
from eosin.evaluate.linear import LinearProbe
from eosin.evaluate.probe import ProbeResult, compare, probe
from evaluate.samples import blobs

QUICK = Bootstrap(num_resamples=500)


def parts(spread=1.5, num_groups=10):
    train = blobs(150, seed=1, spread=spread, prefix="train", num_groups=num_groups)
    return train, blobs(120, seed=2, spread=spread, prefix="test", num_groups=num_groups)


@pytest.fixture(scope="module")
def results():
    return probe(*parts(), bootstrap=QUICK)


def test_both_probes_report_what_they_predicted(results):
    train, test = parts()
    assert [result.probe for result in results] == ["knn", "linear"]
    knn, linear = results
    assert list(knn.predictions) == Knn().predict(train, test.features).tolist()
    fit = LinearProbe().fit(train)
    assert list(linear.predictions) == fit.predict(test.features).tolist()
    for result in results:
        right = np.mean(np.equal(result.predictions, test.labels))
        assert result.accuracy.value == pytest.approx(right)
        assert result.accuracy.low < right < result.accuracy.high
        assert result.accuracy.num_groups == 10
        assert np.sum(result.confusion) == 120
        assert np.trace(result.confusion) == round(right * 120)


def test_settings_reach_the_probes_and_the_result():
    strict = probe(
        *parts(),
        knn=Knn(num_neighbours=3, vote="majority"),
        linear=LinearProbe(c="auto"),
        bootstrap=QUICK,
    )
    assert strict[0].settings["num_neighbours"] == 3
    assert strict[0].settings["vote"] == "majority"
    assert strict[1].settings["c"] == "auto"
    assert strict[1].settings["chosen_c"] == LinearProbe(c="auto").fit(parts()[0]).c


def test_what_is_chosen_does_not_depend_on_the_test_labels():
    train, test = parts()
    relabelled = replace(test, labels=(test.labels + 1) % 3)
    honest = probe(train, test, linear=LinearProbe(c="auto"), bootstrap=QUICK)
    turned = probe(train, relabelled, linear=LinearProbe(c="auto"), bootstrap=QUICK)
    for one, other in zip(honest, turned, strict=True):
        assert one.predictions == other.predictions
        assert one.settings == other.settings


@pytest.mark.parametrize("num_groups", [10, 1])
def test_a_result_survives_json(num_groups):
    for result in probe(*parts(num_groups=num_groups), bootstrap=QUICK):
        text = json.dumps(result.to_json(), allow_nan=False)
        again = ProbeResult.from_json(json.loads(text))
        assert str(again) == str(result)  # not ==, under which NaN differs from itself
        assert again.predictions == result.predictions


def test_json_of_something_else_is_refused(results):
    with pytest.raises(InputError, match="no probe result"):
        ProbeResult.from_json({"probe": "knn"})
    values = results[0].to_json()
    with pytest.raises(InputError, match="no probe result"):
        ProbeResult.from_json({**values, "accuracy": None})


def test_clearer_features_are_better_by_the_difference_of_the_values():
    noisy, clear = (probe(*parts(spread), bootstrap=QUICK) for spread in (3.0, 1.0))
    for first, second in zip(noisy, clear, strict=True):
        difference = compare(first, second, QUICK)
        assert difference.probe == first.probe
        expected = second.accuracy.value - first.accuracy.value
        assert difference.accuracy.value == pytest.approx(expected)
        assert difference.accuracy.excludes_zero
        assert difference.balanced_accuracy.low > 0
        json.dumps(difference.to_json(), allow_nan=False)


def test_results_on_other_samples_or_of_other_probes_are_not_compared(results):
    knn, linear = results
    with pytest.raises(ConfigError, match="compare like probes"):
        compare(knn, linear)
    other = replace(knn, names=knn.names[::-1])
    with pytest.raises(ConfigError, match="differ in their names"):
        compare(knn, other)


def test_parts_that_do_not_fit_together_are_refused():
    train, test = parts()
    with pytest.raises(ConfigError, match="same ones in the same order"):
        probe(train, replace(test, class_names=("a", "b", "c")))
    with pytest.raises(ConfigError, match="12 dimensions but test features 5"):
        probe(train, replace(test, features=test.features[:, :5]))
    with pytest.raises(ConfigError, match="1 slides or patients are in both"):
        probe(train, replace(test, groups=("train 3", *test.groups[1:])))


def test_the_statistics_need_no_torch():
    code = (
        "import sys, eosin.evaluate.metrics, eosin.evaluate.bootstrap, eosin.evaluate.labelled, "
        "eosin.evaluate.knn; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

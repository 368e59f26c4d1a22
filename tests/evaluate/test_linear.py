import logging
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from eosin.errors import ConfigError
from eosin.evaluate.linear import LinearProbe
from evaluate.samples import blobs


@pytest.mark.parametrize("c", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_probabilities_are_scikit_learns(c, num_classes):
    train = blobs(200, seed=1, num_classes=num_classes)
    test = blobs(150, seed=2, num_classes=num_classes)
    train = replace(train, features=train.features * 50 + 1000)
    asked = test.features * 50 + 1000
    scaler = StandardScaler().fit(train.features)
    # With two classes scikit-learn has one weight vector, where two share the work at half the
    # penalty.
    same_c = 2 * c if num_classes == 2 else c
    theirs = LogisticRegression(C=same_c, tol=1e-8, max_iter=5000)
    theirs.fit(scaler.transform(train.features), train.labels)
    expected = theirs.predict_proba(scaler.transform(asked))
    fit = LinearProbe(c=c).fit(train)
    np.testing.assert_allclose(fit.probabilities(asked), expected, atol=1e-3)
    assert (fit.predict(asked) == expected.argmax(axis=1)).mean() > 0.99


def test_a_fit_does_not_depend_on_the_order_of_samples_or_on_torchs_generator():
    train, test = blobs(seed=1), blobs(seed=2)
    shares = LinearProbe().fit(train).probabilities(test.features)
    np.testing.assert_array_equal(shares, LinearProbe().fit(train).probabilities(test.features))
    order = np.random.default_rng(0).permutation(len(train.labels))
    shuffled = replace(train, features=train.features[order], labels=train.labels[order])
    np.testing.assert_allclose(
        LinearProbe().fit(shuffled).probabilities(test.features), shares, atol=1e-6
    )


def test_a_feature_that_never_varies_changes_nothing():
    train, test = blobs(seed=1), blobs(seed=2)
    constant = [np.full((len(part.labels), 1), 3.3, dtype=np.float32) for part in (train, test)]
    wider = replace(train, features=np.hstack([train.features, constant[0]]))
    np.testing.assert_allclose(
        LinearProbe().fit(wider).probabilities(np.hstack([test.features, constant[1]])),
        LinearProbe().fit(train).probabilities(test.features),
        atol=1e-6,
    )


def test_auto_takes_a_small_c_where_features_are_noise_and_a_larger_one_where_they_tell():
    rng = np.random.default_rng(0)
    noise = replace(blobs(100), features=rng.normal(size=(100, 80)).astype(np.float32))
    clear = blobs(100, spread=0.3)
    chosen = [LinearProbe(c="auto").fit(train).c for train in (noise, clear)]
    assert chosen[0] <= 0.01
    assert chosen[1] >= 0.1


def test_auto_keeps_slides_whole_so_that_a_slide_s_colour_is_not_learned_as_its_class():
    rng = np.random.default_rng(0)
    slide = np.repeat(np.arange(20), 12)
    labels = rng.integers(0, 2, 20)[slide]
    colour = 3 * rng.normal(size=(20, 30))[slide]
    slides = replace(
        blobs(240, num_classes=2),
        features=(colour + rng.normal(size=(240, 30))).astype(np.float32),
        labels=labels,
        groups=tuple(str(index) for index in slide),
    )
    tiles = replace(slides, groups=slides.names)
    assert LinearProbe(c="auto").fit(slides).c < LinearProbe(c="auto").fit(tiles).c


def test_auto_with_one_slide_is_refused():
    with pytest.raises(ConfigError, match="two groups"):
        LinearProbe(c="auto").fit(blobs(num_groups=1))


def test_a_fit_that_was_cut_short_says_so(caplog):
    with caplog.at_level(logging.WARNING, logger="eosin.evaluate.linear"):
        LinearProbe(c=100.0, max_iterations=2).fit(blobs())
    assert "raise max_iterations=2" in caplog.text
    caplog.clear()
    LinearProbe().fit(blobs())
    assert caplog.text == ""


@pytest.mark.parametrize(
    "settings", [{"c": 0.0}, {"c": -1.0}, {"num_folds": 1}, {"max_iterations": 0}]
)
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        LinearProbe(**settings)

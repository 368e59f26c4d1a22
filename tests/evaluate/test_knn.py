from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from eosin.errors import ConfigError
from eosin.evaluate.knn import Knn
from evaluate.samples import blobs


@pytest.mark.parametrize("num_neighbours", [1, 5, 20])
def test_a_majority_vote_is_scikit_learns(num_neighbours):
    train, test = blobs(400, seed=1), blobs(300, seed=2)
    theirs = KNeighborsClassifier(num_neighbours, metric="cosine").fit(train.features, train.labels)
    knn = Knn(num_neighbours=num_neighbours, vote="majority")
    np.testing.assert_array_equal(knn.predict(train, test.features), theirs.predict(test.features))
    np.testing.assert_allclose(
        knn.probabilities(train, test.features), theirs.predict_proba(test.features)
    )


def test_a_weighted_vote_is_a_softmax_over_cosines():
    train, test = blobs(50, seed=1), blobs(9, seed=2)
    knn = Knn(num_neighbours=7, temperature=0.1)
    known = torch.nn.functional.normalize(torch.from_numpy(train.features))
    asked = torch.nn.functional.normalize(torch.from_numpy(test.features))
    cosine, nearest = (asked @ known.T).topk(7)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(train.labels)[nearest], 3)
    expected = ((cosine / 0.1).softmax(1)[..., None] * one_hot).sum(1)
    np.testing.assert_allclose(knn.probabilities(train, test.features), expected, atol=1e-5)


def test_the_vote_decides_where_one_near_neighbour_stands_against_two_far_ones():
    train = blobs(3, num_classes=2, dim=2)
    train = replace(
        train,
        features=np.array([[1.0, 0.02], [0.3, 1.0], [0.3, 1.1]], dtype=np.float32),
        labels=np.array([0, 1, 1]),
    )
    asked = np.array([[1.0, 0.0]], dtype=np.float32)
    assert Knn(num_neighbours=3, vote="weighted").predict(train, asked).tolist() == [0]
    assert Knn(num_neighbours=3, vote="majority").predict(train, asked).tolist() == [1]
    assert Knn(num_neighbours=3, temperature=100.0).predict(train, asked).tolist() == [1]


def test_the_length_of_features_does_not_matter():
    train, test = blobs(seed=1), blobs(seed=2)
    np.testing.assert_allclose(
        Knn().probabilities(train, 1000 * test.features),
        Knn().probabilities(replace(train, features=7 * train.features), test.features),
        atol=1e-5,
    )


def test_memory_is_bounded_and_chunks_change_nothing(monkeypatch):
    train, test = blobs(100, seed=1), blobs(70, seed=2)
    whole = Knn().probabilities(train, test.features)
    monkeypatch.setattr("eosin.evaluate.knn.MAX_SIMILARITIES", 350)
    np.testing.assert_allclose(Knn().probabilities(train, test.features), whole, atol=1e-5)


def test_fewer_training_samples_than_neighbours_all_vote():
    train, test = blobs(4, seed=1), blobs(6, seed=2)
    shares = Knn(vote="majority").probabilities(train, test.features)
    expected = np.bincount(train.labels, minlength=3) / 4
    np.testing.assert_allclose(shares, np.tile(expected, (6, 1)))


def test_a_low_temperature_does_not_overflow_and_a_zero_feature_is_no_nan():
    train, test = blobs(30, seed=1), blobs(5, seed=2)
    features = np.concatenate([test.features, np.zeros((1, 12), dtype=np.float32)])
    shares = Knn(temperature=1e-4).probabilities(train, features)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize(
    "settings", [{"num_neighbours": 0}, {"temperature": 0.0}, {"temperature": float("nan")}]
)
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Knn(**settings)

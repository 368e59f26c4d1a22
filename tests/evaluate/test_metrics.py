import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from eosin.errors import ConfigError
from eosin.evaluate.metrics import accuracy, balanced_accuracy, confusion_matrix


@pytest.fixture
def guesses():
    rng = np.random.default_rng(1)
    targets = rng.choice(4, size=300, p=[0.6, 0.2, 0.15, 0.05])
    return targets, np.where(rng.random(300) < 0.6, targets, rng.integers(0, 4, 300))


def test_the_confusion_matrix_is_scikit_learns(guesses):
    expected = sklearn_metrics.confusion_matrix(*guesses)
    np.testing.assert_array_equal(confusion_matrix(*guesses, 4), expected)


def test_both_accuracies_are_scikit_learns(guesses):
    confusion = confusion_matrix(*guesses, 4)
    assert accuracy(confusion) == pytest.approx(sklearn_metrics.accuracy_score(*guesses))
    expected = sklearn_metrics.balanced_accuracy_score(*guesses)
    assert balanced_accuracy(confusion) == pytest.approx(expected)
    assert expected != pytest.approx(sklearn_metrics.accuracy_score(*guesses), abs=0.01)


def test_a_class_that_is_only_predicted_does_not_lower_the_balanced_accuracy():
    confusion = confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), 3)
    assert balanced_accuracy(confusion) == pytest.approx(0.75)


def test_many_matrices_give_what_each_gives_alone(guesses):
    targets, predictions = guesses
    many = np.stack(
        [confusion_matrix(targets[i::5], predictions[i::5], 4) for i in range(5)]
    ).astype(float)
    for metric in (accuracy, balanced_accuracy):
        np.testing.assert_allclose(metric(many), [float(metric(one)) for one in many])


def test_no_samples_have_no_accuracy():
    assert np.isnan(accuracy(np.zeros((3, 3))))
    assert np.isnan(balanced_accuracy(np.zeros((3, 3))))


@pytest.mark.parametrize(
    ("targets", "predictions"), [([0, 1], [0, 3]), ([-1, 1], [0, 1]), ([0, 1], [0])]
)
def test_classes_out_of_range_and_missing_predictions_are_refused(targets, predictions):
    with pytest.raises(ConfigError):
        confusion_matrix(np.array(targets), np.array(predictions), 3)

"""The classes of a phantom must be told apart by how tissue is laid out, not by its colours."""

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from eosin.phantom import CLASSES, PhantomSpec, draw_phantom
from eosin.phantom.labels import LabelMap
from eosin.phantom.spec import LABEL_UM

NUM_KNOWN, NUM_ASKED = 6, 6
WINDOW_L0, STEP_L0 = 256, 128


@pytest.fixture(scope="module")
def windows() -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows of 64 um at 0.5 um/px and their classes, by slide; slides are 0.5 mm wide."""
    return [windows_of(100 + index) for index in range(NUM_KNOWN + NUM_ASKED)]


def windows_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    spec = PhantomSpec(seed=seed, width_l0=2048, height_l0=2048)
    rgb, classes = draw_phantom(spec)
    label_map = LabelMap(classes=classes, px_l0=spec.label_px_l0, um=LABEL_UM)
    half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    images, labels = [], []
    for y in range(0, spec.height_l0 - WINDOW_L0, STEP_L0):
        for x in range(0, spec.width_l0 - WINDOW_L0, STEP_L0):
            label = label_map.class_of_window(x, y, WINDOW_L0)
            if label:
                size = WINDOW_L0 // 2
                images.append(half[y // 2 : y // 2 + size, x // 2 : x // 2 + size])
                labels.append(label)
    return np.stack(images), np.array(labels)


def balanced_accuracy(
    windows: list[tuple[np.ndarray, np.ndarray]], describe: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Of 20 nearest neighbours, windows of the last slides asking those of the first."""
    features = [np.stack([describe(image) for image in images]) for images, _ in windows]
    known, asked = np.concatenate(features[:NUM_KNOWN]), np.concatenate(features[NUM_KNOWN:])
    labels = [label for _, label in windows]
    known_labels = np.concatenate(labels[:NUM_KNOWN])
    asked_labels = np.concatenate(labels[NUM_KNOWN:])
    # For histograms, whose roots have length one, the order is that of Hellinger and of cosine.
    distance = (known**2).sum(axis=1) - 2 * asked @ known.T
    nearest = np.argsort(distance, axis=1)[:, :20]
    votes = np.stack([(known_labels[nearest] == c).sum(axis=1) for c in range(len(CLASSES))], 1)
    is_right = votes.argmax(axis=1) == asked_labels
    return float(np.mean([is_right[asked_labels == c].mean() for c in range(1, len(CLASSES))]))


def rgb_histogram(image: np.ndarray) -> np.ndarray:
    counts = cv2.calcHist([image], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
    return np.sqrt(counts / counts.sum())


def hsv_histogram(image: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 8, 8], [0, 180, 0, 256, 0, 256]).ravel()
    return np.sqrt(counts / counts.sum())


def arrangement(image: np.ndarray) -> np.ndarray:
    """How much structure there is at each scale and how parallel it runs; no colour."""
    green = image[..., 1].astype(np.float32)
    green = (green - green.mean()) / (green.std() + 1e-6)
    blurred = [cv2.GaussianBlur(green, (0, 0), sigma) for sigma in (0.7, 1.4, 2.8, 5.6, 11.2)]
    bands = [np.log((fine - coarse).var() + 1e-6) for fine, coarse in itertools.pairwise(blurred)]
    parallel = []
    for smooth in blurred[:3]:
        dy, dx = np.gradient(smooth)
        xx, yy, xy = (cv2.blur(p, (32, 32)) for p in (dx * dx, dy * dy, dx * dy))
        parallel.append(np.mean(np.hypot(xx - yy, 2 * xy) / (xx + yy + 1e-9)))
    return np.array([*bands, *parallel])


@pytest.mark.parametrize("histogram", [rgb_histogram, hsv_histogram])
def test_a_colour_histogram_does_not_tell_the_classes_apart(windows, histogram):
    assert balanced_accuracy(windows, histogram) < 0.6


def test_the_arrangement_tells_the_classes_apart(windows):
    assert balanced_accuracy(windows, arrangement) > 0.7

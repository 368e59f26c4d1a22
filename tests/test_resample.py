import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.resample import shrink


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    st.integers(20, 90), st.integers(20, 90), st.integers(8, 90), st.integers(8, 90), st.integers(0)
)
def test_shrinking_is_an_area_average_within_a_grey_level(width, height, to_width, to_height, seed):
    to_width, to_height = min(width, to_width), min(height, to_height)
    image = noise(width, height, seed % 1000)
    exact = area_weights(height, to_height) @ image.astype(float).transpose(2, 0, 1)
    exact = (exact @ area_weights(width, to_width).T).transpose(1, 2, 0)
    ours = shrink(image, to_width, to_height)
    assert ours.shape == (to_height, to_width, 3)
    # Half a level of each rounding, and what weights of 8 bits are off.
    assert np.abs(ours - exact).max() < 2.0
    assert abs((ours - exact).mean()) < 0.5


def area_weights(source, target):
    """Return the share of each source row in each target row, by its definition."""
    factor = source / target
    weights = np.zeros((target, source))
    for row in range(target):
        for other in range(source):
            overlap = min(other + 1, (row + 1) * factor) - max(other, row * factor)
            weights[row, other] = max(0.0, overlap) / factor
    return weights


@pytest.mark.parametrize(
    "sizes", [(506, 256), (487, 256), (300, 224), (131, 98), (700, 256), (1026, 256), (999, 64)]
)
def test_shrinking_is_opencvs_within_a_grey_level(sizes):
    source, target = sizes
    image = cv2.GaussianBlur(noise(source, source), (5, 5), 0)
    reference = cv2.resize(image, (target, target), interpolation=cv2.INTER_AREA).astype(int)
    difference = np.abs(shrink(image, target, target) - reference)
    assert difference.max() <= 1
    assert difference.mean() < 0.3


def test_the_starkest_contrast_is_two_grey_levels_off_and_hardly_anywhere():
    image = np.where(noise(389, 133) < 128, 0, 255).astype(np.uint8)
    for width, height in ((314, 113), (200, 60), (160, 131), (41, 17)):
        reference = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(int)
        difference = np.abs(shrink(image, width, height) - reference)
        assert difference.max() <= 2
        assert (difference > 1).mean() < 1e-3


@pytest.mark.parametrize("grey", [0, 1, 127, 254, 255])
def test_a_flat_image_stays_as_it_is(grey):
    assert (shrink(np.full((101, 77, 3), grey, np.uint8), 53, 64) == grey).all()


def test_a_part_of_an_image_can_be_shrunk():
    image = noise(200, 150)
    part = image[10:120, 30:190]
    assert (shrink(part, 64, 64) == shrink(part.copy(), 64, 64)).all()

import cv2
import numpy as np
import pytest
from scipy import ndimage

from eosin.tissue.components import fill_holes, pieces_at_edge, pieces_over

EIGHT = np.ones((3, 3))


@pytest.fixture(params=range(4))
def mask(request):
    noise = np.random.default_rng(request.param).normal(size=(20, 26)).astype(np.float32)
    return cv2.resize(noise, (120, 90), interpolation=cv2.INTER_CUBIC) > 0.2


@pytest.mark.parametrize("area", [0.0, 5.0, 60.0, 5000.0])
def test_pieces_up_to_an_area_are_dropped(mask, area):
    labels, num = ndimage.label(mask, EIGHT)
    expected = np.isin(labels, [n for n in range(1, num + 1) if (labels == n).sum() > area])
    assert (pieces_over(mask, area) == expected).all()


def test_pieces_at_the_edge_are_told_from_others(mask):
    labels, _ = ndimage.label(mask, EIGHT)
    at_edge = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])) - {0}
    assert (pieces_at_edge(mask) == np.isin(labels, list(at_edge))).all()


@pytest.mark.parametrize("area", [0.0, 5.0, 60.0, 5000.0])
def test_holes_up_to_an_area_are_filled(mask, area):
    labels, num = ndimage.label(~mask)
    open_glass = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    stay = [n for n in range(1, num + 1) if n in open_glass or (labels == n).sum() > area]
    assert (fill_holes(mask, area) == ~np.isin(labels, stay)).all()


def test_the_largest_holes_of_each_piece_stay():
    mask = np.zeros((40, 100), bool)
    for left in (2, 52):
        mask[2:38, left : left + 44] = True
    holes = {(5, 5): 9, (5, 20): 7, (20, 5): 5, (20, 30): 3, (5, 60): 6, (20, 60): 4, (20, 80): 2}
    for (row, column), side in holes.items():
        mask[row : row + side, column : column + side] = False
    filled = fill_holes(mask, 4.5, max_kept=2)
    left = {at for at in holes if not filled[at]}
    assert left == {(5, 5), (5, 20), (5, 60), (20, 60)}


def test_a_hole_belongs_to_the_piece_around_it_and_not_to_the_island_in_it():
    mask = np.ones((60, 60), bool)
    mask[0] = mask[-1] = mask[:, 0] = mask[:, -1] = False
    mask[10:50, 10:50] = False
    mask[12:48, 12:48] = True  # an island that nearly fills the hole
    mask[20:30, 20:30] = False  # with a hole of its own
    mask[4:8, 4:8] = False
    filled = fill_holes(mask, 1.0, max_kept=1)
    assert not filled[11, 30]
    assert not filled[25, 25]
    assert filled[5, 5]


def test_a_mask_without_tissue_or_without_glass_stays():
    for value in (True, False):
        mask = np.full((9, 7), value)
        assert (fill_holes(mask, 3.0, max_kept=2) == mask).all()
        assert (pieces_over(mask, 3.0) == mask).all()
        assert (pieces_at_edge(mask) == mask).all()

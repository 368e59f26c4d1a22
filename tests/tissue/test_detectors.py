import cv2
import numpy as np
import pytest

from eosin.backends import SyntheticBackend
from eosin.errors import ConfigError
from eosin.plain import fingerprint, from_plain, to_plain
from eosin.tissue import (
    CLAMTissueDetector,
    CombinedTissueDetector,
    FaintTissueDetector,
    HSVTissueDetector,
    OtsuTissueDetector,
    PenFreeDetector,
    ScannedAreaDetector,
    TissueDetector,
)
from made_slides import VIOLET


def disc_on_glass(width=120, height=90, radius=25):
    image = np.full((height, width, 3), 250, np.uint8)
    cv2.circle(image, (width // 2, height // 2), radius, VIOLET, -1)
    truth = cv2.circle(
        np.zeros((height, width), np.uint8), (width // 2, height // 2), radius, 1, -1
    )
    return image, truth.astype(bool)


class TissueDetectorContract:
    def test_a_mask_has_the_shape_of_the_thumbnail(self, detector: TissueDetector) -> None:
        for shape in ((1, 1), (7, 300), (90, 120)):
            mask = detector.detect(np.full((*shape, 3), 240, np.uint8), mpp=None)
            assert mask.shape == shape
            assert mask.dtype == bool

    def test_the_same_thumbnail_gives_the_same_mask_and_stays(
        self, detector: TissueDetector
    ) -> None:
        image, _ = disc_on_glass()
        before = image.copy()
        masks = [detector.detect(image, mpp=8.0) for _ in range(2)]
        assert (masks[0] == masks[1]).all()
        assert (image == before).all()

    def test_thumbnails_of_any_resolution_and_noise_give_masks(
        self, detector: TissueDetector
    ) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (301, 200, 3), np.uint8)
        for image in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
            for mpp in (0.25, 4.0, 8.0, 64.0, None):
                assert detector.detect(image, mpp=mpp).shape == (301, 200)

    def test_settings_are_stored_and_read_back(self, detector: TissueDetector) -> None:
        again = from_plain(to_plain(detector))
        assert again == detector
        assert fingerprint(again) == fingerprint(detector)

    def test_a_stained_disc_is_found(self, detector: TissueDetector) -> None:
        image, truth = disc_on_glass()
        mask = detector.detect(image, mpp=8.0)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9


class TestHSV(TissueDetectorContract):
    @pytest.fixture
    def detector(self):
        return HSVTissueDetector()


class TestOtsu(TissueDetectorContract):
    @pytest.fixture
    def detector(self):
        return OtsuTissueDetector()


class TestCLAM(TissueDetectorContract):
    @pytest.fixture
    def detector(self):
        return CLAMTissueDetector(a_t=1, a_h=1)


class TestFaint(TissueDetectorContract):
    @pytest.fixture
    def detector(self):
        return FaintTissueDetector()


class TestCombinedByAnd(TissueDetectorContract):
    @pytest.fixture
    def detector(self):
        parts = (HSVTissueDetector(), PenFreeDetector(), ScannedAreaDetector())
        return CombinedTissueDetector(detectors=parts)


class TestCombinedByOr(TissueDetectorContract):
    @pytest.fixture
    def detector(self):
        parts = (OtsuTissueDetector(), FaintTissueDetector())
        return CombinedTissueDetector(detectors=parts, mode="or")


def hsv_mask(*hsv, **ranges):
    pixel = np.array([[hsv]], np.uint8)
    return bool(
        HSVTissueDetector(**ranges).detect(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB), mpp=None)[0, 0]
    )


@pytest.mark.parametrize(
    ("hsv", "is_tissue"),
    [
        ((90, 255, 255), True),
        ((88, 255, 255), False),
        ((179, 255, 255), True),
        ((0, 255, 255), False),
        ((150, 255, 103), True),
        ((150, 255, 102), False),
        ((150, 0, 255), False),
    ],
)
def test_the_ends_of_the_hsv_ranges_belong_to_them(hsv, is_tissue):
    assert hsv_mask(*hsv) == is_tissue


def test_glass_and_pen_of_another_hue_are_no_tissue_by_colour():
    image = np.zeros((4, 3, 3), np.uint8)
    image[:, 0], image[:, 1], image[:, 2] = 255, (30, 160, 60), (20, 20, 20)
    assert not HSVTissueDetector().detect(image, mpp=None).any()


def test_otsu_drops_specks():
    image, truth = disc_on_glass()
    image[2:5, 2:5] = 0
    mask = OtsuTissueDetector(min_area_ratio=0.01).detect(image, mpp=None)
    assert not mask[:10, :10].any()
    assert mask[truth].mean() > 0.9


def test_otsu_closes_gaps():
    image, _ = disc_on_glass(radius=30)
    image[44:46, 40:80] = 250
    closed = OtsuTissueDetector(blur_ksize=1, morph_close_ksize=7).detect(image, mpp=None)
    assert closed[44:46, 45:75].all()


@pytest.mark.parametrize(
    ("detector", "setting"),
    [
        (HSVTissueDetector, {"hue_range": (90, 181)}),
        (HSVTissueDetector, {"sat_range": (9, 8)}),
        (HSVTissueDetector, {"val_range": (-1, 8)}),
        (OtsuTissueDetector, {"blur_ksize": 4}),
        (OtsuTissueDetector, {"morph_close_ksize": 0}),
        (OtsuTissueDetector, {"min_area_ratio": 1.0}),
        (CLAMTissueDetector, {"sthresh": 256}),
        (CLAMTissueDetector, {"sthresh_up": 0}),
        (CLAMTissueDetector, {"mthresh": 4}),
        (CLAMTissueDetector, {"close": -1}),
        (CLAMTissueDetector, {"a_t": -1}),
        (CLAMTissueDetector, {"a_h": float("nan")}),
        (CLAMTissueDetector, {"max_n_holes": -1}),
        (CLAMTissueDetector, {"ref_patch_size": 0}),
        (FaintTissueDetector, {"min_contrast": 0.0}),
        (FaintTissueDetector, {"min_chroma": 256.0}),
        (FaintTissueDetector, {"window_um": -1.0}),
        (FaintTissueDetector, {"close_um": float("inf")}),
        (FaintTissueDetector, {"min_piece_mm2": -1.0}),
        (FaintTissueDetector, {"max_hole_mm2": float("nan")}),
        (PenFreeDetector, {"min_width_um": -1.0}),
        (PenFreeDetector, {"margin_um": float("nan")}),
        (ScannedAreaDetector, {"max_dark": 256}),
        (ScannedAreaDetector, {"min_area_mm2": -0.1}),
        (CombinedTissueDetector, {"detectors": ()}),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(detector, setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        detector(**setting)


def test_detectors_are_combined_by_and_or_by_or():
    image, _ = disc_on_glass()
    parts = (HSVTissueDetector(), OtsuTissueDetector(blur_ksize=1, morph_close_ksize=25))
    image[20:30, 20:30] = (40, 160, 60)  # green: dark, and not of the hue of tissue
    one, other = (part.detect(image, mpp=8.0) for part in parts)
    assert (one & ~other).any() or (other & ~one).any()
    both = CombinedTissueDetector(detectors=parts)
    either = CombinedTissueDetector(detectors=parts, mode="or")
    assert (both.detect(image, mpp=8.0) == (one & other)).all()
    assert (either.detect(image, mpp=8.0) == (one | other)).all()


def test_an_unknown_way_to_combine_is_refused():
    # The checker of types would refuse it too; in production there is none.
    combined = object.__new__(CombinedTissueDetector)
    object.__setattr__(combined, "detectors", (HSVTissueDetector(),))
    object.__setattr__(combined, "mode", "xor")
    with pytest.raises(ConfigError, match="xor"):
        combined.__post_init__()


def test_a_slide_gets_a_mask_of_about_8_um_a_pixel():
    tissue = HSVTissueDetector().tissue(SyntheticBackend().open("made://a"))
    assert tissue.mask.shape == (94, 125)
    assert tissue.tissue_fraction == pytest.approx(0.25, abs=0.01)
    assert tissue.cell_width_l0 == pytest.approx(32)


def test_a_large_slide_gets_a_bounded_mask():
    backend = SyntheticBackend(width_l0=300_000, height_l0=3000)
    tissue = HSVTissueDetector().tissue(backend.open("made://a"))
    assert tissue.mask.shape == (41, 4096)


def test_a_slide_without_mpp_still_gets_a_mask():
    backend = SyntheticBackend(mpp=None, width_l0=5000)
    tissue = HSVTissueDetector().tissue(backend.open("made://a"))
    assert max(tissue.mask.shape) == 4096


class AskedMpp(TissueDetector):
    def __init__(self):
        self.mpp = 0.0

    def detect(self, thumbnail, *, mpp):
        self.mpp = mpp
        return np.ones(thumbnail.shape[:2], bool)


def test_a_detector_is_told_the_resolution_of_its_thumbnail():
    detector = AskedMpp()
    detector.tissue(SyntheticBackend(width_l0=40_000, mpp=1.0).open("made://a"))
    assert detector.mpp == pytest.approx(40_000 / 4096)

"""What every source of masks keeps: detectors, and a folder of masks."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from eosin.backends import SyntheticBackend
from eosin.backends.base import Slide
from eosin.plain import fingerprint, from_plain, to_plain
from eosin.tissue import FaintTissueDetector, HSVTissueDetector, MaskFolder, MaskStore, TissueSource
from eosin.tissue.mask import Extent

SIZES = [(4000, 3000, 0.25), (3001, 7007, 0.5), (120_001, 900, 0.25), (5000, 4000, None)]


class TissueSourceContract:
    def open(self, size: tuple[int, int, float | None]) -> Slide:
        """Open a slide of this size whose tissue is half as wide and high, in its middle."""
        width, height, mpp = size
        return SyntheticBackend(width_l0=width, height_l0=height, mpp=mpp).open("made://a.svs")

    @pytest.mark.parametrize("size", SIZES)
    def test_a_mask_is_in_the_frame_of_its_slide_and_bounded(
        self, source: TissueSource, size: tuple[int, int, float | None]
    ) -> None:
        tissue = source.tissue(self.open(size))
        assert (tissue.width_l0, tissue.height_l0) == size[:2]
        assert max(tissue.shape) <= 4096
        if size[2] is not None:
            assert tissue.cell_width_l0 * size[2] > 7
        # Cells are square but for the rounding of the thumbnail's shorter side.
        ratio = tissue.cell_width_l0 / tissue.cell_height_l0
        assert abs(ratio - 1) < 0.6 / min(tissue.shape) + 0.02

    @pytest.mark.parametrize("size", SIZES)
    def test_the_tissue_is_where_it_is_on_the_slide(
        self, source: TissueSource, size: tuple[int, int, float | None]
    ) -> None:
        width, height = size[:2]
        tissue = source.tissue(self.open(size))
        window = Extent(width * 0.3, height * 0.3)
        assert tissue.fraction(round(width * 0.35), round(height * 0.35), window) > 0.97
        assert tissue.fraction(0, 0, Extent(width * 0.2, float(height))) < 0.03

    def test_the_same_slide_gives_the_same_mask_from_every_thread(
        self, source: TissueSource
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            masks = list(pool.map(lambda _: source.tissue(self.open(SIZES[0])).mask, range(8)))
        assert all(np.array_equal(mask, masks[0]) for mask in masks)

    def test_a_stored_mask_is_that_of_the_source(self, source: TissueSource, tmp_path) -> None:
        store = MaskStore(tmp_path / "store")
        for size in SIZES:
            masks = [store.tissue(self.open(size), source).mask for _ in range(2)]
            assert np.array_equal(masks[0], masks[1])
            assert np.array_equal(masks[0], source.tissue(self.open(size)).mask)

    def test_settings_are_stored_and_read_back(self, source: TissueSource) -> None:
        again = from_plain(to_plain(source))
        assert fingerprint(again) == fingerprint(source)
        assert isinstance(again, TissueSource)
        assert again.content_key(self.open(SIZES[0])) == source.content_key(self.open(SIZES[0]))


class TestHSV(TissueSourceContract):
    @pytest.fixture
    def source(self):
        return HSVTissueDetector()


class TestFaint(TissueSourceContract):
    @pytest.fixture
    def source(self):
        return FaintTissueDetector()


class TestFolderOfPictures(TissueSourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        self.folder = tmp_path / "masks"
        self.folder.mkdir()
        self.open(SIZES[0])
        return MaskFolder(folder=self.folder)

    def open(self, size):
        mask = np.zeros((round(2000 * size[1] / size[0]), 2000), np.uint8)
        rows, columns = mask.shape
        mask[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4] = 255
        aside = self.folder / f"{threading.get_ident()}.writing.png"
        cv2.imwrite(str(aside), mask)
        aside.replace(self.folder / "a.png")
        return super().open(size)

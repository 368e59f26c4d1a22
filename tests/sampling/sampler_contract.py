"""What every random sampler must do; each has a test class that inherits this."""

import numpy as np
import pytest

from eosin.backends import SyntheticBackend
from eosin.errors import MissingMppError, NoPlaceError
from eosin.sampling import PatchSampler
from eosin.tissue import HSVTissueDetector, TissueMask
from eosin.tissue.mask import Extent


def slide_and_tissue(**settings):
    slide = SyntheticBackend(**settings).open("made://slide")
    return slide.info, HSVTissueDetector().tissue(slide)


class PatchSamplerContract:
    """Give `sampler` with patches of 64 px and a threshold of 0.6, for a slide of 0.25 um/px."""

    def test_places_lie_in_the_slide_and_in_tissue(self, sampler: PatchSampler) -> None:
        info, tissue = slide_and_tissue()
        for seed in range(50):
            rng = np.random.default_rng(seed)
            at = sampler.place(rng, info, tissue, sampler.magnification(rng, info))
            downsample = info.levels[at.level].downsample
            extent = Extent(at.read_width * downsample, at.read_height * downsample)
            assert 0 <= at.x <= info.width_l0 - extent.width_l0
            assert 0 <= at.y <= info.height_l0 - extent.height_l0
            assert tissue.fraction(at.x, at.y, extent) >= 0.6
            assert (at.patch_size, at.slide_path) == (64, info.path)

    def test_the_same_generator_gives_the_same_place(self, sampler: PatchSampler) -> None:
        info, tissue = slide_and_tissue()
        mpp = sampler.magnification(np.random.default_rng(3), info)
        assert sampler.magnification(np.random.default_rng(3), info) == mpp
        places = [sampler.place(np.random.default_rng(5), info, tissue, mpp) for _ in range(2)]
        assert places[0] == places[1]
        assert places[0] != sampler.place(np.random.default_rng(6), info, tissue, mpp)

    def test_a_slide_without_enough_tissue_has_no_place(self, sampler: PatchSampler) -> None:
        info, _ = slide_and_tissue()
        speck = np.zeros((60, 80), bool)
        speck[3, 3] = True
        tissue = TissueMask(speck, width_l0=info.width_l0, height_l0=info.height_l0)
        rng = np.random.default_rng(0)
        with pytest.raises(NoPlaceError, match=r"has 60% tissue; the mask is 0\.0% tissue"):
            sampler.place(rng, info, tissue, sampler.magnification(rng, info))

    def test_a_slide_that_is_smaller_than_a_patch_has_no_place(self, sampler: PatchSampler) -> None:
        info, tissue = slide_and_tissue(
            width_l0=3000, height_l0=50, tissue_box=(0.0, 0.0, 1.0, 1.0)
        )
        rng = np.random.default_rng(0)
        with pytest.raises(NoPlaceError, match="made://slide: no window"):
            sampler.place(rng, info, tissue, sampler.magnification(rng, info))

    def test_a_slide_without_mpp_is_refused(self, sampler: PatchSampler) -> None:
        info, _ = slide_and_tissue(mpp=None)
        with pytest.raises(MissingMppError, match="mpp-overrides"):
            sampler.magnification(np.random.default_rng(0), info)

    def test_there_is_no_limit_unless_one_is_set(self, sampler: PatchSampler) -> None:
        assert sampler.max_per_slide is None
        assert type(sampler)(num_patches=20).max_per_slide == 20

    def test_cells_cover_the_tissue_once_and_never_overlap(self, sampler: PatchSampler) -> None:
        info, tissue = slide_and_tissue()
        mpp = sampler.magnification(np.random.default_rng(0), info)
        cells = sampler.cells(info, tissue, mpp)
        taken = np.zeros((info.height_l0, info.width_l0), np.uint8)
        for at in cells:
            downsample = info.levels[at.level].downsample
            width, height = (round(n * downsample) for n in (at.read_width, at.read_height))
            field = taken[at.y : at.y + height, at.x : at.x + width]
            assert field.shape == (height, width)
            field += 1
            assert tissue.fraction(at.x, at.y, Extent(width, height)) >= 0.6
        assert taken.max() == 1
        # The tissue is the middle quarter of the slide; cells at its rim are in or out.
        assert 0.8 < taken.sum() / (taken.size / 4) < 1.2

    def test_cells_are_a_list_that_is_the_same_each_time(self, sampler: PatchSampler) -> None:
        info, tissue = slide_and_tissue()
        mpp = sampler.magnification(np.random.default_rng(0), info)
        cells = sampler.cells(info, tissue, mpp)
        assert list(cells) == [cells[n] for n in range(len(cells))]
        assert list(cells) == list(sampler.cells(info, tissue, mpp))
        assert list(cells[2:5]) == list(cells)[2:5]
        assert [(at.y, at.x) for at in cells] == sorted((at.y, at.x) for at in cells)
        assert {at.slide_path for at in cells} == {info.path}

    def test_a_slide_without_enough_tissue_has_no_cells(self, sampler: PatchSampler) -> None:
        info, _ = slide_and_tissue()
        empty = TissueMask(np.zeros((60, 80), bool), width_l0=info.width_l0, height_l0=3000)
        mpp = sampler.magnification(np.random.default_rng(0), info)
        assert len(sampler.cells(info, empty, mpp)) == 0

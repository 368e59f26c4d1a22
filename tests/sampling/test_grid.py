import numpy as np
import pytest

from eosin.errors import ConfigError, MissingMppError, NoPlaceError
from eosin.sampling import GridSampler
from eosin.tissue import TissueMask
from sampling.sampler_contract import slide_and_tissue


def places(sampler, **slide):
    info, tissue = slide_and_tissue(**slide)
    return [(at.x, at.y) for at in sampler.places(info, tissue)]


def test_cells_tile_the_slide_row_by_row_and_leave_out_the_rest():
    found = places(GridSampler(patch_size=900, tissue_threshold=0.0))
    assert found == [(x, y) for y in (0, 900, 1800) for x in (0, 900, 1800, 2700)]


def test_cells_without_enough_tissue_are_left_out():
    # The tissue is the middle of the slide: x 1000 to 3000, y 750 to 2250.
    found = places(GridSampler(patch_size=250, tissue_threshold=0.9))
    assert set(found) == {(x, y) for y in range(750, 2250, 250) for x in range(1000, 3000, 250)}


def test_cells_are_as_far_apart_as_the_stride_says():
    found = places(GridSampler(patch_size=512, stride=256, tissue_threshold=0.0, target_mpp=0.5))
    assert sorted({x for x, _ in found}) == [0, 512, 1024, 1536, 2048, 2560]


def test_every_cell_is_at_the_target_magnification():
    info, tissue = slide_and_tissue()
    found = GridSampler(patch_size=64, target_mpp=2.0).places(info, tissue)
    assert {(at.level, at.read_width, at.mpp) for at in found} == {(1, 128, 2.0)}


def test_a_slide_smaller_than_a_cell_has_none():
    assert places(GridSampler(patch_size=256), width_l0=255, tissue_box=(0.0, 0.0, 1.0, 1.0)) == []


def test_a_slide_of_nothing_but_tissue_gives_every_cell_at_a_threshold_of_one():
    info, _ = slide_and_tissue(width_l0=3999, height_l0=2999)
    tissue = TissueMask(np.ones((93, 125), bool), width_l0=3999, height_l0=2999)
    sampler = GridSampler(patch_size=100, tissue_threshold=1.0)
    assert len(sampler.places(info, tissue)) == 39 * 29


def test_slides_that_cannot_give_the_magnification_are_refused():
    with pytest.raises(MissingMppError):
        places(GridSampler(target_mpp=0.5), mpp=None)
    with pytest.raises(NoPlaceError, match="too coarse"):
        places(GridSampler(target_mpp=0.5), mpp=2.0)


@pytest.mark.parametrize(
    "setting", [{"stride": 0}, {"patch_size": 0}, {"level": -1}, {"target_mpp": -0.5}]
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        GridSampler(**setting)

"""Properties of places: inside the slide, over the field that was asked for, same as one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.backends import SyntheticBackend, read_patch
from eosin.backends.synthetic import decode_coordinates
from eosin.errors import NoPlaceError
from eosin.geometry import MagnificationRule
from eosin.sampling import (
    ContinuousMagnificationSampler,
    GridSampler,
    MultiMagnificationSampler,
    RandomSampler,
)
from eosin.sampling.places import grid_places
from eosin.tissue import TissueMask
from eosin.tissue.mask import Extent

# Plain values only: beartype draws random numbers when objects are made, which a strategy must not.
SLIDES = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(200, 9000), st.integers(200, 9000)),
        "steps": st.lists(st.floats(1.5, 4.5), max_size=3),
        "mpp": st.floats(0.2, 0.6),
        "stretch": st.floats(0.9, 1.1),
        "mask_shape": st.tuples(st.integers(1, 60), st.integers(1, 60)),
        "mask_seed": st.integers(0, 1000),
        "tissue": st.sampled_from([0.2, 0.6, 1.0]),
    }
)
SAMPLERS = st.one_of(
    st.tuples(
        st.just(RandomSampler),
        st.fixed_dictionaries({"patch_size": st.integers(8, 300), "target_mpp": st.floats(0.2, 4)}),
    ),
    st.tuples(
        st.just(RandomSampler),
        st.fixed_dictionaries({"patch_size": st.integers(8, 300), "level": st.integers(0, 2)}),
    ),
    st.tuples(
        st.just(MultiMagnificationSampler),
        st.fixed_dictionaries(
            {
                "patch_size": st.integers(8, 300),
                "tissue_threshold": st.sampled_from([0.0, 0.2, 1.0]),
                "no_level": st.sampled_from(["skip", "upsample"]),
            }
        ),
    ),
    st.tuples(
        st.just(ContinuousMagnificationSampler),
        st.fixed_dictionaries(
            {
                "output_size": st.integers(8, 300),
                "distribution": st.sampled_from(["uniform", "maxavg", "minmax"]),
            }
        ),
    ),
)


def make_slide(settings):
    """Return a slide of any size, pyramid and pixel shape, with spots of tissue on its mask."""
    info = make_synthetic(settings).info
    rng = np.random.default_rng(settings["mask_seed"])
    mask = rng.random(settings["mask_shape"]) < settings["tissue"]
    return info, TissueMask(mask, width_l0=info.width_l0, height_l0=info.height_l0)


def make_synthetic(settings):
    """Return such a slide with its pixels."""
    backend = SyntheticBackend(
        width_l0=settings["size"][0],
        height_l0=settings["size"][1],
        downsamples=tuple(np.cumprod([1.0, *settings["steps"]]).tolist()),
        mpp=settings["mpp"],
        mpp_y=settings["mpp"] * settings["stretch"],
    )
    return backend.open("made://slide")


def make_sampler(kind, settings):
    settings = dict(settings)
    if "no_level" in settings:
        settings["rule"] = MagnificationRule(no_level=settings.pop("no_level"))
    return kind(**settings)


def extent_of(info, at):
    downsample = info.levels[at.level].downsample
    return Extent(at.read_width * downsample, at.read_height * downsample)


def is_inside(info, at):
    extent = extent_of(info, at)
    is_right = 0 <= at.x <= info.width_l0 - extent.width_l0 + 1e-6
    return is_right and 0 <= at.y <= info.height_l0 - extent.height_l0 + 1e-6


@given(slide=SLIDES, sampler=SAMPLERS, seed=st.integers(0, 2**32))
def test_every_place_is_inside_the_slide_in_tissue_and_as_large_as_asked_for(slide, sampler, seed):
    info, tissue = make_slide(slide)
    sampler = make_sampler(*sampler)
    rng = np.random.default_rng(seed)
    try:
        mpp = sampler.magnification(rng, info)
        at = sampler.place(rng, info, tissue, mpp)
    except NoPlaceError:
        return
    assert is_inside(info, at)
    assert tissue.fraction(at.x, at.y, extent_of(info, at)) >= sampler.tissue_threshold
    level = info.mpp_at(at.level)
    asked_um = at.patch_size * mpp
    # Half a source pixel, or the tolerance when the level is read as it is.
    slack = 0.5 + 1e-6 + (sampler.rule.mpp_tolerance * at.patch_size * mpp / min(level))
    if not (isinstance(sampler, RandomSampler) and sampler.target_mpp is None):
        assert abs(at.read_width * level.x - asked_um) <= slack * level.x
        assert abs(at.read_height * level.y - asked_um) <= slack * level.y
    assert at.mpp == pytest.approx(
        (level.x * at.read_width + level.y * at.read_height) / (2 * at.patch_size)
    )


@given(
    slide=SLIDES,
    sampler=SAMPLERS,
    width=st.integers(300, 4000),
    height=st.integers(300, 4000),
    seed=st.integers(0, 2**32),
)
def test_the_pixels_of_a_place_are_those_of_its_corner_and_none_is_outside(
    slide, sampler, width, height, seed
):
    slide = make_synthetic({**slide, "size": (width, height)})
    info, rng = slide.info, np.random.default_rng(seed)
    tissue = TissueMask(np.ones((10, 10), bool), width_l0=width, height_l0=height)
    sampler = make_sampler(*sampler)
    try:
        at = sampler.place(rng, info, tissue, sampler.magnification(rng, info))
    except NoPlaceError:
        return
    pixels = slide.read_region(at.x, at.y, at.level, at.read_width, at.read_height)
    x, y = decode_coordinates(pixels)
    downsample = info.levels[at.level].downsample
    assert (x == at.x + np.floor(np.arange(at.read_width) * downsample)[None]).all()
    assert (y == at.y + np.floor(np.arange(at.read_height) * downsample)[:, None]).all()
    # What is outside has the colour of the background, which no pixel of so small a slide has.
    assert x.max() < width
    assert y.max() < height
    assert read_patch(slide, at).shape == (at.patch_size, at.patch_size, 3)


@given(slide=SLIDES, sampler=SAMPLERS)
def test_cells_are_inside_the_slide_in_tissue_and_disjoint(slide, sampler):
    info, tissue = make_slide(slide)
    sampler = make_sampler(*sampler)
    try:
        mpp = sampler.magnification(np.random.default_rng(0), info)
        cells = sampler.cells(info, tissue, mpp)
    except NoPlaceError:
        return
    for at in cells[:: max(1, len(cells) // 50)]:
        assert is_inside(info, at)
        assert tissue.fraction(at.x, at.y, extent_of(info, at)) >= sampler.tissue_threshold
    for axis, side in (("x", 0), ("y", 1)):
        edges = sorted({getattr(at, axis) for at in cells})
        apart = np.diff(edges)
        assert (apart >= (math.ceil(extent_of(info, cells[0])[side]) if len(apart) else 0)).all()


@given(
    slide=SLIDES,
    patch_size=st.integers(100, 400),
    step=st.floats(0.4, 2.5),
    threshold=st.sampled_from([0.0, 0.1, 0.4, 0.65, 1.0]),
)
def test_the_grid_is_the_one_that_a_loop_over_all_cells_finds(slide, patch_size, step, threshold):
    info, tissue = make_slide(slide)
    try:
        window = RandomSampler(patch_size=patch_size, target_mpp=1.0).window(info, 1.0)
    except NoPlaceError:
        return
    step_l0 = (window.width_l0 * step, window.height_l0 * step)
    found = grid_places(info, tissue, window, step_l0=step_l0, tissue_threshold=threshold)
    extent = Extent(window.width_l0, window.height_l0)
    num_columns = max(0, int((info.width_l0 - extent.width_l0) // step_l0[0]) + 1)
    num_rows = max(0, int((info.height_l0 - extent.height_l0) // step_l0[1]) + 1)
    corners = [
        (int(column * step_l0[0]), int(row * step_l0[1]))
        for row in range(num_rows)
        for column in range(num_columns)
    ]
    expected = [(x, y) for x, y in corners if tissue.fraction(x, y, extent) >= threshold]
    assert [(at.x, at.y) for at in found] == expected


@given(slide=SLIDES, patch_size=st.integers(64, 300), stride=st.integers(32, 400))
def test_grid_patches_are_inside_the_slide(slide, patch_size, stride):
    info, tissue = make_slide(slide)
    sampler = GridSampler(patch_size=patch_size, stride=stride)
    places = sampler.places(info, tissue)
    assert all(is_inside(info, at) for at in places)
    assert all((at.level, at.read_width) == (0, patch_size) for at in places)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.errors import ConfigError
from eosin.masking import BlockMasking, draw_mask


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(
    masking: BlockMasking, num_crops: int, *, step: int = 0, grid: tuple[int, int] = (16, 16)
) -> np.ndarray:
    """Return the masks of all crops of a step."""
    return masking.draw(7, step, range(num_crops), num_crops=num_crops, grid=grid)


def test_a_mask_of_76_among_256_falls_as_short_as_the_reference_and_never_above():
    # Source: facebookresearch/dinov2 b8931f7, MaskingGenerator((16, 16), max_num_patches=128):
    # 2000 masks of 76 have a mean of 75.927, at least 74, at most 76, 92.8 % exactly 76.
    rng = generator()
    counts = np.array([draw_mask(rng, 16, 16, 76).sum() for _ in range(1500)])
    assert counts.max() == 76
    assert counts.min() >= 73
    assert counts.mean() == pytest.approx(75.93, abs=0.03)
    assert (counts == 76).mean() == pytest.approx(0.928, abs=0.025)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    fraction=st.floats(0, 1),
)
def test_a_mask_of_any_grid_never_hides_more_than_asked(
    seed: int, rows: int, columns: int, fraction: float
):
    num_masked = int(fraction * rows * columns)
    mask = draw_mask(generator(seed), rows, columns, num_masked)
    assert mask.shape == (rows, columns)
    assert mask.sum() <= num_masked


def test_masked_patches_hang_together():
    mask = draw_mask(generator(), 16, 16, 76)
    neighbours = (mask[1:] & mask[:-1]).sum() + (mask[:, 1:] & mask[:, :-1]).sum()
    scattered = generator().permutation(mask.ravel()).reshape(mask.shape)
    by_chance = (scattered[1:] & scattered[:-1]).sum() + (
        scattered[:, 1:] & scattered[:, :-1]
    ).sum()
    assert neighbours > 2 * by_chance


@pytest.mark.parametrize(
    ("ratio_range", "of_masked", "of_all"),
    [((0.1, 0.5), 0.298, 0.149), ((0.1, 0.45), 0.273, 0.136)],
)
def test_batches_hide_as_much_as_those_of_the_reference(
    ratio_range: tuple[float, float], of_masked: float, of_all: float
):
    # Source: facebookresearch/dinov2 b8931f7, data/collate.py, 60 batches of 96 crops.
    masks = np.concatenate(
        [drawn(BlockMasking(ratio_range=ratio_range), 96, step=step) for step in range(20)]
    )
    fractions = masks.mean(axis=1)
    assert fractions.mean() == pytest.approx(of_all, abs=0.0015)
    assert fractions[fractions > 0].mean() == pytest.approx(of_masked, abs=0.003)


@pytest.mark.parametrize(("num_images", "expected"), [(96, 48), (5, 2), (1, 0)])
def test_exactly_the_asked_part_of_the_images_is_masked(num_images: int, expected: int):
    masks = drawn(BlockMasking(), num_images)
    assert masks.shape == (num_images, 256)
    assert masks.dtype == bool
    assert masks.any(axis=1).sum() == expected


def test_each_masked_image_takes_its_own_part_of_the_range_of_ratios():
    masking = BlockMasking(probability=1.0, ratio_range=(0.1, 0.5))
    masks = drawn(masking, 8, grid=(64, 64))
    fractions = np.sort(masks.mean(axis=1))
    edges = np.linspace(0.1, 0.5, 9)
    assert (fractions < edges[1:]).all()
    assert (fractions > edges[:-1] - 0.01).all()


def test_masked_images_stand_in_random_places_and_order():
    batches = [drawn(BlockMasking(), 8, step=step) for step in range(200)]
    often_masked = np.mean([batch.any(axis=1) for batch in batches], axis=0)
    assert often_masked == pytest.approx(0.5, abs=0.12)
    mean_ratio = np.mean([batch.mean(axis=1) for batch in batches], axis=0)
    assert mean_ratio == pytest.approx(0.149, abs=0.04)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"probability": 1.5}, "probability"),
        ({"ratio_range": (0.5, 0.1)}, "ratio_range"),
        ({"ratio_range": (0.1, 1.0)}, "ratio_range"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings: dict, name: str):
    with pytest.raises(ConfigError, match=name):
        BlockMasking(**settings)


def test_the_mask_of_a_crop_follows_from_its_step_and_number_alone():
    whole = drawn(BlockMasking(), 12, step=3)
    some = BlockMasking().draw(7, 3, [9, 2, 4], num_crops=12, grid=(16, 16))
    assert (some == whole[[9, 2, 4]]).all()
    assert (drawn(BlockMasking(), 12, step=4) != whole).any()

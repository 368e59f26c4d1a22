"""What a row of a recipe's table can claim, as a check of the run."""

import math
from collections.abc import Callable

from eosin.recipes.dinov2 import IMAGENET_MEAN, IMAGENET_STD
from eosin.train.config import TrainConfig
from eosin.transforms import RandomApply, Solarize
from eosin.transforms.dinov2 import dinov2_augmentation
from eosin.views import GLOBAL, LOCAL

Check = Callable[[TrainConfig], None]


def threshold(share: float) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.data.sampler.tissue_threshold == share

    return check


def patch(side_px: int) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.data.sampler.patch_size == side_px

    return check


def half_a_micron(run: TrainConfig) -> None:
    assert run.data.sampler.target_mpp == 0.5


def four_magnifications(run: TrainConfig) -> None:
    assert tuple(run.data.sampler.target_mpps) == (0.25, 0.5, 1.0, 2.0)


def virchow2_shares(run: TrainConfig) -> None:
    assert dict(zip(run.data.sampler.target_mpps, run.data.sampler.mpp_weights, strict=True)) == {
        0.25: 0.2,
        0.5: 0.4,
        1.0: 0.2,
        2.0: 0.2,
    }


def no_filter(run: TrainConfig) -> None:
    assert run.data.patch_filter is None


def no_stains(run: TrainConfig) -> None:
    assert run.data.shared_transforms is None
    assert "HED" not in repr(run.data.views)


def virchow_ranges(part: object) -> None:
    assert (part.hue_range, part.sat_range, part.val_range) == ((90, 180), (8, 255), (103, 255))


def virchow_filter(run: TrainConfig) -> None:
    virchow_ranges(run.data.patch_filter)
    assert run.data.patch_filter.min_pixel_fraction == 0.6


def virchow_mask(run: TrainConfig) -> None:
    virchow_ranges(run.data.tissue_detector)


def gpfm_mask(run: TrainConfig) -> None:
    clam = run.data.tissue_detector
    assert (clam.use_otsu, clam.sthresh, clam.mthresh, clam.close) == (True, 8, 7, 4)
    assert (clam.a_t, clam.a_h, clam.max_n_holes) == (16, 4, 8)


def level_0(run: TrainConfig) -> None:
    assert run.data.sampler.target_mpp is None
    assert run.data.sampler.level == 0


def one_slide_at_a_time(run: TrainConfig) -> None:
    assert (run.data.pool_size, run.data.patches_per_slide) == (1, 256)


def imagenets(run: TrainConfig) -> None:
    assert (run.data.mean, run.data.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert IMAGENET_STD == (0.229, 0.224, 0.225)


def halves(run: TrainConfig) -> None:
    assert run.data.mean == run.data.std == (0.5, 0.5, 0.5)


def crop_sizes(global_px: int, local_px: int) -> Check:
    def check(run: TrainConfig) -> None:
        assert (run.data.crop_size(GLOBAL), run.data.crop_size(LOCAL)) == (global_px, local_px)

    return check


def dinov2_crops(local_px: int) -> Check:
    def check(run: TrainConfig) -> None:
        crop_sizes(224, local_px)(run)
        assert run.data.num_local == 8
        for view in run.data.views:
            wanted = (0.32, 1.0) if view.name.startswith(GLOBAL) else (0.05, 0.32)
            assert view.crop.scale == wanted
            assert view.crop.ratio == (3 / 4, 4 / 3)

    return check


def dinov2_colours(run: TrainConfig) -> None:
    of = dinov2_augmentation()
    assert [view.transforms for view in run.data.views] == [of.global_1, of.global_2, of.local]


def virchow2_shapes(run: TrainConfig) -> None:
    assert {view.crop.ratio for view in run.data.views} == {(0.95, 1.05)}


def both_flips(run: TrainConfig) -> None:
    for view in run.data.views:
        flips = view.transforms.transforms[0]
        assert (flips.p_hflip, flips.p_vflip, flips.p_rot90) == (0.5, 0.5, 0.0)


def solarises(run: TrainConfig) -> None:
    last = [view.transforms.transforms[-1] for view in run.data.views]
    wanted = RandomApply(transform=Solarize(threshold=128), p=0.2)
    assert [step == wanted for step in last] == [False, True, False]


def kde(run: TrainConfig) -> None:
    losses = run.losses
    assert (losses.kde_kappa, losses.kde_weight, losses.koleo_weight) == (5.0, 0.05, 0.0)


def model(dim: int, depth: int, heads: int, patch_px: int, registers: int) -> Check:
    def check(run: TrainConfig) -> None:
        vit = run.model
        assert (vit.embed_dim, vit.depth, vit.num_heads) == (dim, depth, heads)
        assert (vit.patch_size, vit.num_registers) == (patch_px, registers)

    return check


def batch(patches: int) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.global_batch == patches

    return check


def steps(num: int) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.steps == num

    return check


def two_billion(run: TrainConfig) -> None:
    assert math.isclose(run.steps * run.global_batch, 2e9, rel_tol=1e-5)

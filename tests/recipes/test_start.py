"""What recipes start from, how `smoke()` differs, and numbers that tables cannot say."""

import math

import numpy as np
import pytest

from eosin.plain import from_plain, to_plain
from eosin.recipes import RECIPES, midnight_highres, openmidnight, vits_1gpu
from eosin.recipes.dino import dino_augmentation
from eosin.transforms import GaussianBlur
from eosin.transforms.hed import HEDColorAugmentation
from transforms.transform_contract import noise


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_smoke_run_needs_no_weights_and_keeps_what_decides_the_arithmetic(recipe: str):
    run, small = RECIPES[recipe].config(), RECIPES[recipe].smoke()
    assert small.start == "random"
    assert (small.losses, small.masking) == (run.losses, run.masking)
    assert (small.ibot_head is None) == (run.ibot_head is None)
    assert small.dino_head.trains_lengths == run.dino_head.trains_lengths
    assert (small.accumulation_steps > 1) == (run.accumulation_steps > 1)
    assert (small.optim.freeze_backbone_steps > 0) == (run.optim.freeze_backbone_steps > 0)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_survives_its_way_through_a_file(recipe: str):
    run = RECIPES[recipe].config()
    assert from_plain(to_plain(run)) == run


def test_only_runs_that_begin_with_learnt_weights_say_so_in_their_command():
    for name, module in RECIPES.items():
        command = next(line for line in (module.__doc__ or "").splitlines() if line[:3] == "Run")
        assert ("--weights" in command) == (module.config().start != "random"), name
        assert f"eosin train {name} SLIDES" in command


def test_the_high_resolution_stage_sees_the_tissue_of_the_first_stage():
    first, second = RECIPES["midnight92k"].config().data, midnight_highres.data()
    fields_um = [
        {mpp * data.sampler.patch_size for mpp in data.sampler.target_mpps}
        for data in (first, second)
    ]
    assert fields_um == [{64.0, 128.0, 256.0, 512.0}] * 2


def test_openmidnights_stain_shifts_are_skimages():
    stains = openmidnight.colours().local.transforms[0].transform
    assert (stains.sigma, stains.sigma_bias) == (0.0, 0.05 * -math.log(1e-6))
    # skimage: stains = log(max(rgb, 1e-6)) / log(1e-6) @ inverse; back: exp(log(1e-6) stains @ M).
    image = noise(8, 8)
    image[image < 8] = 8
    matrix = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    shift = np.array([0.03, -0.02, 0.05])
    unit = np.log(1e-6)
    moved = np.log(image / 255) / unit @ np.linalg.inv(matrix) + shift
    wanted = np.clip(np.exp(unit * moved @ matrix), 0, 1) * 255
    ours = HEDColorAugmentation(sigma=0.0).replay(
        image, {"alpha": [1.0] * 3, "beta": (shift * openmidnight.SKIMAGE_UNIT).tolist()}
    )
    assert np.abs(ours - wanted).max() < 1


def test_dinos_blur_is_not_turned_round():
    of = dino_augmentation()
    assert isinstance(of.global_1.transforms[-1], GaussianBlur)
    assert of.global_2.transforms[-2].p == 0.1
    assert of.local.transforms[-1].p == 0.5


def test_dinos_rate_is_its_own_at_the_batch_of_the_recipe():
    run = RECIPES["kaiko_fm_dino_s16"].config()
    assert run.peak_lr == pytest.approx(0.0005 * run.global_batch / 256)
    assert run.dino_head.trains_lengths
    assert not RECIPES["kaiko_fm_dino_b8"].config().dino_head.trains_lengths


@pytest.mark.parametrize(
    ("recipe", "dim", "patch_px"),
    [("s16", 384, 16), ("s8", 384, 8), ("b16", 768, 16), ("b8", 768, 8)],
)
def test_kaiko_fms_dino_runs_differ_in_their_model(recipe: str, dim: int, patch_px: int):
    run = RECIPES[f"kaiko_fm_dino_{recipe}"].config()
    assert (run.model.embed_dim, run.model.patch_size) == (dim, patch_px)
    assert run.data == RECIPES["kaiko_fm_dino_s16"].config().data


def test_the_run_for_one_gpu_is_a_day_at_its_stated_rate():
    run = vits_1gpu.config()
    assert run.steps * run.global_batch / 150 / 3600 == pytest.approx(24, rel=0.02)
    assert run.peak_lr == pytest.approx(1e-4)

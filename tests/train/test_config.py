import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.errors import ConfigError
from eosin.models.config import vit_config
from eosin.recipes import RECIPES, midnight12k, recipe_config
from eosin.train.config import LossConfig, OptimConfig, TeacherConfig
from eosin.train.rates import RateSchedules
from eosin.views import RandomResizedCrop, ViewConfig
from train.tiny import tiny_config

OPTIM = OptimConfig(base_lr=1.0, warmup_steps=0)


def test_the_learning_rate_follows_the_square_root_of_the_batch():
    config = midnight12k.config()
    assert config.global_batch == 768
    assert config.peak_lr == pytest.approx(2e-4 * (768 / 1024) ** 0.5)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"steps": 0}, "steps=0"),
        ({"global_batch": 1}, "global_batch=1"),
        (
            {"checkpoint_every_steps": 3, "keep_every_steps": 10},
            r"keep_every_steps=10 .* checkpoint_every_steps=3, or 0; give --keep-every-steps 9 ",
        ),
        ({"global_batch": 5}, "data.num_lanes=2"),
        ({"optim": OptimConfig(base_lr=1.0, warmup_steps=9)}, "optim.warmup_steps=9"),
        ({"optim": replace(OPTIM, freeze_last_layer_steps=4)}, "optim.freeze_last_layer_steps=4"),
        ({"optim": replace(OPTIM, freeze_backbone_steps=5)}, "optim.freeze_backbone_steps=5"),
        ({"model": vit_config("nano", patch_size=16, image_size=64)}, "model.patch_size=16"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_the_name_that_was_typed(change: dict, name: str):
    with pytest.raises(ConfigError, match=name):
        tiny_config(**change)


def test_a_recipe_cut_short_says_at_once_all_that_must_be_shortened_with_it():
    with pytest.raises(ConfigError) as refused:
        replace(midnight12k.config(), steps=1000)
    told = str(refused.value)
    assert "optim.warmup_steps=100000 must be at most 1000" in told
    assert "optim.freeze_last_layer_steps=1250 must be at most 999" in told
    flags = told.partition("shorten: ")[2].split()
    assert flags == [
        *("--optim.warmup-steps", "100"),
        *("--optim.freeze-last-layer-steps", "10"),
        *("--teacher.warmup-temperature-steps", "300"),
    ]
    optim = replace(midnight12k.config().optim, warmup_steps=100, freeze_last_layer_steps=10)
    assert replace(midnight12k.config(), optim=optim, steps=1000).steps == 1000


@pytest.mark.parametrize("name", list(RECIPES))
@given(share=st.floats(0, 1))
def test_every_recipe_can_be_cut_to_any_number_of_steps(name: str, share: float):
    """Section E of the faults: a short run stopped at the warm-up of the long one."""
    recipe = recipe_config(name)
    short = recipe.with_steps(max(1, round(share * recipe.steps)))
    assert short.optim.warmup_steps <= short.steps
    assert short.teacher.warmup_temperature_steps <= short.steps
    long = {
        **vars_of(recipe.optim, "warmup_steps", "freeze_last_layer_steps", "freeze_backbone_steps"),
        **vars_of(recipe.teacher, "warmup_temperature_steps"),
    }
    for setting, num in {**vars_of(short.optim, *long), **vars_of(short.teacher, *long)}.items():
        assert num in (long[setting], long[setting] * short.steps // recipe.steps)


def vars_of(part: OptimConfig | TeacherConfig, *names: str) -> dict[str, int]:
    return {name: getattr(part, name) for name in names if hasattr(part, name)}


def test_a_run_that_is_long_enough_keeps_its_warm_ups():
    recipe = recipe_config("nano_cpu")
    for steps in (60, 599, 600, 10_000):
        assert recipe.with_steps(steps) == replace(recipe, steps=steps)
    assert recipe.with_steps(59).optim.warmup_steps == 5
    with pytest.raises(ConfigError, match="steps=0"):
        recipe.with_steps(0)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (LossConfig(), "kde_kappa", -5.0),
        (LossConfig(), "kde_weight", math.nan),
        (LossConfig(), "dino_weight", -1.0),
        (LossConfig(), "student_temperature", 0.0),
        (OPTIM, "base_lr", math.nan),
        (OPTIM, "betas", (0.9, 1.0)),
        (OPTIM, "patch_embed_lr_multiplier", -1.0),
        (OPTIM, "final_weight_decay", -1.0),
        (TeacherConfig(warmup_temperature_steps=0), "warmup_temperature_steps", -1),
        (TeacherConfig(warmup_temperature_steps=0), "momentum", 1.5),
        (tiny_config().data, "num_lanes", 0),
        (tiny_config().data, "std", (0.5, 0.0, 0.5)),
    ],
)
def test_numbers_that_would_turn_a_term_round_are_refused(part: object, name: str, value: object):
    with pytest.raises(ConfigError, match=rf"\.{name}="):
        replace(part, **{name: value})


def test_without_a_warm_up_the_teachers_temperature_is_there_at_once():
    teacher = TeacherConfig(warmup_temperature_steps=0)
    assert RateSchedules(tiny_config(teacher=teacher)).at(0).teacher_temperature == 0.07
    teacher = TeacherConfig(warmup_temperature_steps=3)
    rates = RateSchedules(tiny_config(teacher=teacher))
    found = [rates.at(step).teacher_temperature for step in range(4)]
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_the_last_layer_stands_still_at_first():
    optim = OptimConfig(base_lr=1.0, warmup_steps=0, freeze_last_layer_steps=2)
    rates = RateSchedules(tiny_config(optim=optim))
    assert [rates.at(step).last_layer_lr > 0 for step in range(4)] == [False, False, True, True]
    assert rates.at(0).lr > 0


def test_a_run_needs_two_global_views():
    data = tiny_config().data
    one = ViewConfig(name="global", crop=RandomResizedCrop(size=56))
    with pytest.raises(ConfigError, match="two that begin with 'global'"):
        replace(data, views=(one,))


def test_crops_of_one_kind_have_one_size():
    data = tiny_config().data
    views = (
        ViewConfig(name="global_a", crop=RandomResizedCrop(size=56)),
        ViewConfig(name="global_b", crop=RandomResizedCrop(size=28)),
    )
    with pytest.raises(ConfigError, match=r"one size, and have \[28, 56\]"):
        replace(data, views=views)


def test_a_run_without_local_crops_is_possible():
    data = tiny_config().data
    views = tuple(view for view in data.views if view.name.startswith("global"))
    assert replace(data, views=views).num_local == 0


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_has_its_label(name: str):
    label = RECIPES[name].__doc__ or ""
    lines = [line.split(" ")[0] for line in label.splitlines() if line[:1].isupper()]
    assert [word for word in lines if word in ("Paper", "Run", "Cost", "Result", "Differs")] == [
        "Paper",
        "Run",
        "Cost",
        "Result",
        "Differs",
    ]


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="midnight12k, nano_cpu"):
        recipe_config("midnite")


def test_midnight_streams_what_the_paper_says():
    data = midnight12k.config().data
    assert tuple(data.sampler.target_mpps) == (0.25, 0.5, 1.0, 2.0)
    assert data.sampler.patch_size == 256
    assert data.sampler.tissue_threshold == 0.4
    assert data.patch_filter.min_pixel_fraction == 0.6
    assert data.patch_filter.hue_range == (90, 180)
    assert data.patch_filter.sat_range == (8, 255)
    assert data.patch_filter.val_range == (103, 255)
    assert (data.crop_size("global"), data.crop_size("local"), data.num_local) == (224, 98, 8)
    assert data.mean == data.std == (0.5, 0.5, 0.5)

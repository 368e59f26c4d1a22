from dataclasses import replace

import pytest

from eosin.errors import ConfigError
from eosin.loader import Share
from eosin.recipes import RECIPES, recipe_config
from eosin.train.memory import estimate_memory
from eosin.train.presets import FEW_PATCHES, FILL_SHARE, PRESETS, apply_preset

FITTING = [
    (recipe, name)
    for recipe in ("vits_1gpu", "nano_cpu", "uni", "midnight_highres", "kaiko_fm_dino_s8")
    for name in PRESETS
    if (recipe in ("vits_1gpu", "nano_cpu") or name in ("gpu80", "8xgpu80", "4x8xgpu80"))
]


@pytest.mark.parametrize(("recipe", "name"), FITTING)
def test_a_plan_fits_its_machine_and_can_be_shared_by_it(recipe: str, name: str):
    plan, preset = apply_preset(recipe_config(recipe), name), PRESETS[name]
    run = plan.config
    assert plan.memory.total <= FILL_SHARE * preset.memory_gib
    assert run.data.num_lanes % preset.num_devices == 0
    for rank in (0, preset.num_devices - 1):
        Share(
            batch_size=run.global_batch,
            num_parts=run.accumulation_steps,
            rank=rank,
            world_size=preset.num_devices,
        )
    assert run.global_batch <= preset.global_batch
    assert plan.num_replicas == preset.num_nodes


def test_nothing_but_batch_parts_and_lanes_changes():
    recipe = recipe_config("midnight_highres")
    plan = apply_preset(recipe, "gpu80")
    assert plan.config != recipe
    back = replace(
        plan.config,
        global_batch=recipe.global_batch,
        accumulation_steps=recipe.accumulation_steps,
        data=replace(plan.config.data, num_lanes=recipe.data.num_lanes),
    )
    assert back == recipe


def test_a_recipe_that_fits_stays_as_it_is():
    recipe = recipe_config("nano_cpu")
    plan = apply_preset(recipe, "cpu")
    assert plan.config == recipe
    assert not plan.recompute_blocks


def test_parts_are_as_few_as_fit():
    recipe = recipe_config("vits_1gpu")
    plan = apply_preset(recipe, "gpu24")
    assert (plan.config.accumulation_steps, plan.recompute_blocks) == (4, False)
    fewer = replace(recipe, accumulation_steps=2)
    assert estimate_memory(fewer).total > FILL_SHARE * 24


def test_blocks_are_computed_again_where_parts_would_compare_too_few_patches():
    recipe = recipe_config("midnight12k")
    plan = apply_preset(recipe, "gpu80")
    assert plan.recompute_blocks
    assert plan.config.part_batch >= FEW_PATCHES
    plain = replace(plan.config, accumulation_steps=plan.config.global_batch // FEW_PATCHES)
    assert estimate_memory(plain).total > FILL_SHARE * 80


def test_the_lines_say_batch_memory_rate_and_duration():
    plan = apply_preset(recipe_config("vits_1gpu"), "gpu12")
    text = "\n".join(plan.lines)
    assert "a step of 128 patches (the recipe: 256)" in text
    assert plan.memory.describe() in text
    assert "learning rate 7.07e-05 = 0.0002 x sqrt(128 / 1024) (the recipe: 0.0001)" in text
    assert "50,000 steps see 6,400,000 patches (the recipe: 12,800,000)" in text
    assert "warning" not in text


def test_small_batches_and_small_parts_are_warned_of():
    assert "collapse" in apply_preset(recipe_config("vits_1gpu"), "cpu").lines[-1]
    assert "compare only the" in apply_preset(recipe_config("midnight_highres"), "gpu80").lines[-1]


def test_lanes_grow_until_every_device_has_one():
    plan = apply_preset(recipe_config("midnight12k"), "4x8xgpu80")
    assert plan.config.data.num_lanes == 32
    assert "32 lanes (the recipe: 8)" in plan.lines


def test_a_batch_that_was_chosen_stays():
    recipe = recipe_config("midnight12k")
    plan = apply_preset(recipe, "gpu80", keeps_batch=True)
    assert plan.config.global_batch == recipe.global_batch == 768
    with pytest.raises(ConfigError, match="global_batch=36 cannot be shared by the 8 devices"):
        apply_preset(
            replace(recipe, global_batch=36, data=replace(recipe.data, num_lanes=4)),
            "8xgpu80",
            keeps_batch=True,
        )


def test_a_batch_smaller_than_the_machine_is_refused():
    with pytest.raises(ConfigError, match="global_batch=4 cannot be shared by the 8 devices"):
        apply_preset(RECIPES["nano_cpu"].smoke(), "8xgpu80")


def test_a_model_that_never_fits_is_refused_with_its_needs_and_what_to_do():
    with pytest.raises(ConfigError, match=r"gpu24 has 24 GiB .* weights 9\.2.* smaller model"):
        apply_preset(recipe_config("midnight12k"), "gpu24")


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="no preset 'gpu16'; choose one of cpu, gpu12"):
        apply_preset(recipe_config("nano_cpu"), "gpu16")


def test_cpus_are_counted_in_float32_unless_told_otherwise():
    recipe = recipe_config("nano_cpu")
    in_bfloat16 = replace(recipe, precision="bfloat16")
    auto = apply_preset(recipe, "cpu").memory.activations
    assert auto > 1.5 * apply_preset(in_bfloat16, "cpu").memory.activations

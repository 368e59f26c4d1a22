"""The snippets of the card are run by tests/models/test_huggingface.py and here."""

import re
from dataclasses import replace

import pytest

from eosin.errors import ConfigError
from eosin.recipes import RECIPES, recipe_config
from eosin.recipes.card import model_card

NANO = recipe_config("nano_cpu")


def with_registers(num_registers: int) -> str:
    return model_card("a", replace(NANO, model=replace(NANO.model, num_registers=num_registers)), 7)


def test_a_card_says_how_images_are_prepared_and_what_to_take():
    card = model_card("my run", NANO, 1234)
    assert "# my run" in card
    assert "1,234 steps" in card
    assert f"{NANO.data.global_px} x {NANO.data.global_px} px" in card
    assert f"mean {NANO.data.mean} and standard" in card
    assert "patches.mean(dim=1)" in card


def test_registers_are_left_out_by_the_card():
    assert "tokens[:, 1:]\n" in with_registers(0)
    assert "tokens[:, 5:]  # 1 to 4 are registers" in with_registers(4)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_of_a_recipe_has_its_label(name: str):
    card = model_card("a", recipe_config(name), 7, recipe=name)
    assert RECIPES[name].__doc__.strip().splitlines()[0] in card
    assert "settings changed" not in card


def test_a_run_that_follows_one_recipe_to_the_letter_has_its_label_unasked():
    assert model_card("a", NANO, 7) == model_card("a", NANO, 7, recipe="nano_cpu")
    assert "The recipe" not in model_card("a", recipe_config("midnight92k"), 7)


def test_what_was_changed_of_a_recipe_is_listed_by_name():
    changed = replace(NANO, seed=5)
    card = model_card("a", changed, 7, recipe="nano_cpu")
    assert f"- `seed: was {NANO.seed}, now 5`" in card
    assert RECIPES["nano_cpu"].__doc__.splitlines()[0] in card
    assert "The recipe" not in model_card("a", changed, 7)


def test_what_was_changed_for_the_export_is_said():
    assert "\nPositions were resampled.\n\n## Made by" in model_card(
        "a", NANO, 7, note="Positions were resampled."
    )


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ConfigError, match="no recipe 'x'"):
        model_card("a", NANO, 7, recipe="x")


def test_every_snippet_of_the_card_is_python():
    snippets = re.findall(r"```python\n(.*?)```", with_registers(4), re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        compile(snippet, "card", "exec")

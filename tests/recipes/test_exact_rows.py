"""Every row of a recipe's table that says "exact" is checked here, under its name."""

import re

import numpy as np
import pytest

from eosin.recipes import RECIPES
from recipes.row_checks import Check
from recipes.rows_of_midnight import MIDNIGHTS
from recipes.rows_of_others import OTHERS

CHECKS: dict[str, dict[str, Check]] = {**MIDNIGHTS, **OTHERS}


def rows(recipe: str) -> dict[str, str]:
    """Return the match of each row of a recipe's table, by the row's name."""
    table = re.findall(r"^\| (.+?) \|.*\| (\w+) \|$", RECIPES[recipe].__doc__ or "", re.MULTILINE)
    return {name: match for name, match in table if name != "step"}


@pytest.mark.parametrize(
    ("recipe", "row"), [(recipe, row) for recipe, checks in CHECKS.items() for row in checks]
)
def test_a_row_that_says_exact_is(recipe: str, row: str):
    CHECKS[recipe][row](RECIPES[recipe].config())


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_exact_row_has_a_check_and_no_other_row_has(recipe: str):
    exact = {row for row, match in rows(recipe).items() if match == "exact"}
    assert exact == set(CHECKS[recipe])


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_row_says_how_well_it_matches(recipe: str):
    table = (RECIPES[recipe].__doc__ or "").count("\n| ")
    assert len(rows(recipe)) == max(0, table - 1)
    assert set(rows(recipe).values()) <= {"exact", "approximate", "differs", "unknown"}


def test_a_check_notices_a_wrong_value():
    for recipe, row in [
        ("uni", "batch"),
        ("virchow", "patches of a slide in a row"),
        ("gpfm", "resolution"),
    ]:
        with pytest.raises((AssertionError, AttributeError)):
            CHECKS[recipe][row](RECIPES["midnight12k"].config())


def test_virchow2s_crops_hardly_scale_their_region():
    crops = {view.crop for view in RECIPES["virchow2"].config().data.views}
    rng = np.random.default_rng(0)
    for crop in crops:
        boxes = [crop.draw_box(rng, width=392, height=392) for _ in range(500)]
        scales = np.array([(box.width * box.height) ** 0.5 / crop.size for box in boxes])
        assert scales.min() >= 0.895
        assert scales.max() <= 1.105

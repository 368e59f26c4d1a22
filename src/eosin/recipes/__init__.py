"""One readable file per recipe: `config()` is the run, `smoke()` the same run for a laptop.

Nothing here imports torch, so that recipes can be shown and previewed with the streaming install.
Every row of a recipe's table that says "exact" is tested by its name (tests/recipes).
"""

from collections.abc import Callable
from types import ModuleType

from eosin.errors import ConfigError
from eosin.recipes import (
    gpfm,
    kaiko_fm,
    kaiko_fm_dino_b8,
    kaiko_fm_dino_b16,
    kaiko_fm_dino_s8,
    kaiko_fm_dino_s16,
    midnight12k,
    midnight92k,
    midnight_highres,
    nano_cpu,
    openmidnight,
    phikon_v2,
    prov_gigapath,
    uni,
    virchow,
    virchow2,
    vits_1gpu,
)
from eosin.train.config import TrainConfig

RECIPES: dict[str, ModuleType] = {
    "midnight12k": midnight12k,
    "nano_cpu": nano_cpu,
    "midnight92k": midnight92k,
    "midnight_highres": midnight_highres,
    "openmidnight": openmidnight,
    "vits_1gpu": vits_1gpu,
    "kaiko_fm": kaiko_fm,
    "kaiko_fm_dino_s16": kaiko_fm_dino_s16,
    "kaiko_fm_dino_s8": kaiko_fm_dino_s8,
    "kaiko_fm_dino_b16": kaiko_fm_dino_b16,
    "kaiko_fm_dino_b8": kaiko_fm_dino_b8,
    "uni": uni,
    "virchow": virchow,
    "virchow2": virchow2,
    "gpfm": gpfm,
    "phikon_v2": phikon_v2,
    "prov_gigapath": prov_gigapath,
}


def recipe_config(name: str) -> TrainConfig:
    """Return the configuration of a recipe by its name.

    Raises:
        ConfigError: If there is no such recipe.
    """
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    config: Callable[[], TrainConfig] = RECIPES[name].config
    return config()

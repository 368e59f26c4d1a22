"""Arguments that several commands take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

Slides = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SLIDES")]
Recipe = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
Overrides = dict[str, float]


def as_paths(slides: Sequence[Path]) -> list[str | Path]:
    """Return slides as the library takes them."""
    return list(slides)

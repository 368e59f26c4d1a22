"""Arguments that several commands take."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import tyro

from eosin.errors import ConfigError
from eosin.names import get_logger
from eosin.recipes import RECIPES, recipe_config
from eosin.train.config import TrainConfig

if TYPE_CHECKING:
    from eosin.backends.base import SlideBackend
    from eosin.catalog import SlideEntry
    from eosin.tissue import MaskStore, TissueSource

logger = get_logger(__name__)

# As text: a path would make one slash of the two in a URL.
Slides = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SLIDES")]
Model = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Recipe = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]


@dataclass(kw_only=True)
class Choice:
    """Which of the slides, and how large their pixels are."""

    where: str | None = None
    """Condition on the slides' columns, such as "section == 'DX' and not held_out(0.1)"."""
    mpp_overrides: dict[str, float] = field(default_factory=dict)
    """Microns per level-0 pixel by file name, for slides that do not say or say wrong."""
    assume_mpp: float | None = None
    """Microns per level-0 pixel of all slides that do not say; without it they are left out."""


ChoiceOf = Annotated[Choice, tyro.conf.arg(name="")]

DetectorName = Literal["hsv", "faint", "otsu", "clam"]


@dataclass(kw_only=True)
class Tissue:
    """What counts as tissue, in place of what the recipe says."""

    tissue_detector: DetectorName | None = None
    """What finds tissue: hsv by the colours of H&E; faint by texture and by colours that differ
    from the slide's own glass, also where that is tinted or the stain is another; otsu by darkness;
    clam as CLAM does. As the recipe has it when left out; give the same to `eosin scan` and to what
    takes its index."""
    patch_filter: Literal["hsv", "all"] | None = None
    """Which patches are kept: hsv those in the colours of H&E; all, for other stains, what the
    tissue mask leaves. As the recipe has it when left out."""

    def applied_to(self, config: TrainConfig, recipe: str) -> TrainConfig:
        """Return the settings with what is said here in place of the recipe's.

        Raises:
            ConfigError: If the settings of the recipe's own detector were changed as well.
        """
        from eosin.filters import HSVPatchFilter
        from eosin.tissue.doubt import DETECTORS

        data = config.data
        if self.tissue_detector is not None:
            if data.tissue_detector != recipe_config(recipe).data.tissue_detector:
                raise ConfigError(
                    f"--tissue-detector {self.tissue_detector} replaces the recipe's detector, and "
                    "--data.tissue-detector... changes it; leave one of them out"
                )
            data = replace(data, tissue_detector=DETECTORS[self.tissue_detector])
        if self.patch_filter is not None:
            data = replace(
                data, patch_filter=HSVPatchFilter() if self.patch_filter == "hsv" else None
            )
        return replace(config, data=data)


TissueOf = Annotated[Tissue, tyro.conf.arg(name="")]


class Chosen(NamedTuple):
    """What the arguments come to."""

    entries: "tuple[SlideEntry, ...]"
    backend: "SlideBackend"
    masks: "MaskStore | None"
    """Of the scan whose index was given."""
    left_out: dict[str, str]
    """Slides that are named and not used, with the reason."""

    def anonymous(self) -> "Chosen":
        """Return the same slides under keys of their content instead of their names."""
        from eosin.catalog import anonymous_slides, without_names

        entries, backend = anonymous_slides(self.entries, self.backend)
        return self._replace(
            entries=entries, backend=backend, left_out=without_names(self.left_out)
        )


def named_recipe(name: str) -> TrainConfig:
    """Return the settings of a recipe.

    Raises:
        ConfigError: If there is none of that name, saying which may be meant.
    """
    close = did_you_mean(name, RECIPES)
    if name not in RECIPES and close:
        raise ConfigError(f"there is no recipe {name!r}{close}? There are {', '.join(RECIPES)}")
    return recipe_config(name)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the end of a message about a wrong word; empty when it is like none of the choices."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]!r}" if close else ""


def choose(slides: Sequence[str], choice: Choice) -> Chosen:
    """List the slides, and say what reads them.

    Raises:
        InputError: If there are none.
        ConfigError: If the condition or a number makes no sense, or is said of a slide that is not
            there.
    """
    from eosin.backends import AutoBackend, MppPolicy
    from eosin.catalog import list_and_left_out, mpp_overrides
    from eosin.tissue import MaskStore

    entries, left_out = list_and_left_out(list(slides), choice.where)
    _refuse_unknown(choice.mpp_overrides, [entry.path for entry in entries])
    policy = MppPolicy(
        overrides={**mpp_overrides(entries), **choice.mpp_overrides},
        missing="skip" if choice.assume_mpp is None else "assume",
        assumed_mpp=choice.assume_mpp,
    )
    indices = [path for path in map(Path, slides) if path.suffix.lower() == ".parquet"]
    stores = [masks_beside(index) for index in indices]
    found = [folder for folder in stores if folder.is_dir()]
    masks = MaskStore(found[0]) if found else None
    return Chosen(entries, AutoBackend(mpp=policy), masks, left_out)


def warn_of_other_masks(masks: "MaskStore | None", source: "TissueSource") -> None:
    """Log where the masks of an index are those of another detector, so that new ones are made."""
    if masks is not None and not masks.knows(source):
        logger.warning(
            "%s holds no mask by %s, so they are made again; if 'eosin scan' was given a "
            "--tissue-detector or another recipe, give it here as well to use its masks",
            masks.folder,
            source,
        )


def _refuse_unknown(overrides: Iterable[str], paths: Sequence[str]) -> None:
    known = {*paths, *(PurePath(path).name for path in paths)}
    for name in overrides:
        if name not in known:
            raise ConfigError(
                f"--mpp-overrides names {name!r}, which is none of the {len(paths)} slides; an "
                "index leaves out slides with a problem, so give their microns to 'eosin scan'"
            )


def masks_beside(index: Path) -> Path:
    """Return the folder in which a scan keeps the masks of an index."""
    from eosin.backends.files import MASKS_SUFFIX

    return index.with_suffix(MASKS_SUFFIX)

"""Settings of a stream that do not go together, refused before anything is opened."""

from collections.abc import Sequence

from eosin.catalog.weights import SlideWeights
from eosin.errors import ConfigError
from eosin.sampling.base import PatchSampler
from eosin.sampling.grid import GridSampler
from eosin.sampling.in_tissue import TissueSampler
from eosin.stream.search import Replacement
from eosin.transforms.base import Transform
from eosin.views import ViewConfig, check_views


def check_augmentation(
    transforms: Transform | None,
    shared_transforms: Transform | None,
    views: Sequence[ViewConfig] | None,
) -> None:
    """Refuse transforms that nothing would apply, or that would be applied twice."""
    if views is None:
        if shared_transforms is not None:
            raise ConfigError("shared_transforms needs views; without them use transforms")
        return
    check_views(views)
    if transforms is not None:
        raise ConfigError(
            "transforms and views exclude each other; put what all views share into "
            "shared_transforms and the rest into each ViewConfig"
        )


def check_grid(num_lanes: int, weights: SlideWeights | None, replacement: Replacement) -> None:
    """Refuse what a grid, which has each cell once, cannot do."""
    if num_lanes > 1:
        raise ConfigError(f"num_lanes={num_lanes} needs a random sampler; a grid has one")
    if weights is not None or replacement == "without_replacement":
        raise ConfigError(
            "weights and without_replacement need a random sampler; a grid has each cell once"
        )


def check_replacement(replacement: Replacement, sampler: PatchSampler | GridSampler) -> None:
    """Refuse a word that is neither of the two, and cells of ever new sizes."""
    if replacement not in ("with_replacement", "without_replacement"):
        raise ConfigError(
            f"replacement={replacement!r} must be 'with_replacement' or 'without_replacement'"
        )
    sizes_vary = isinstance(sampler, TissueSampler) and sampler.sizes_vary
    if sizes_vary and replacement == "without_replacement":
        raise ConfigError(
            f"without_replacement deals each magnification's own cells, and "
            f"{type(sampler).__name__} draws a new one for nearly every patch; use "
            "MultiMagnificationSampler, or with_replacement"
        )


def check_at_least(least: int, **numbers: int | None) -> None:
    """Refuse whole numbers that are too small; None stands for no limit."""
    for name, value in numbers.items():
        if value is not None and value < least:
            raise ConfigError(f"{name}={value} must be at least {least}")


def check_share(**shares: float) -> None:
    """Refuse what is no share from 0 to 1."""
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}={value} must be a share from 0 to 1")

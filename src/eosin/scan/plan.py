"""What a scan looks at each slide with: the same components that the stream will use."""

from dataclasses import dataclass
from typing import final

from eosin.backends.base import SlideBackend
from eosin.errors import ConfigError
from eosin.filters.base import PatchFilter
from eosin.sampling.base import PatchSampler
from eosin.tissue.base import TissueSource


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ScanPlan:
    """The settings of a scan; another scan takes over its rows where these are the same."""

    backend: SlideBackend
    tissue_source: TissueSource
    sampler: PatchSampler
    patch_filter: PatchFilter | None = None
    num_candidates: int = 16
    """Patches that are read for each magnification, to estimate how many the filter accepts."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_candidates < 1:
            raise ConfigError(f"num_candidates={self.num_candidates} must be at least 1")

"""Patches on a regular grid, each once: for embedding, and for streams that end."""

from dataclasses import dataclass, field
from typing import final

from eosin.errors import ConfigError
from eosin.geometry import MagnificationRule, PatchCoordinate, SlideInfo
from eosin.sampling.base import check_patches
from eosin.sampling.places import grid_places
from eosin.sampling.random import check_target, single_window
from eosin.tissue.mask import TissueMask


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GridSampler:
    """List the patches of a grid that have enough tissue, row by row.

    Cells lie `stride` delivered pixels apart, from the top-left corner of the slide; a rest at the
    right and lower edge that is smaller than a patch is left out.
    """

    patch_size: int = 256
    """Pixels of the delivered patch, along both axes."""
    stride: int | None = None
    """Delivered pixels from one patch to the next; `patch_size` when None."""
    level: int = 0
    """Pyramid level to read as it is, when there is no `target_mpp`."""
    target_mpp: float | None = None
    """Microns per delivered pixel, made exactly from the levels there are."""
    tissue_threshold: float = 0.4
    """Least share of a patch that is tissue by the mask."""
    rule: MagnificationRule = field(default_factory=MagnificationRule)

    def __post_init__(self) -> None:
        check_patches(patch_size=self.patch_size, tissue_threshold=self.tissue_threshold)
        check_target(self.level, self.target_mpp)
        if self.stride is not None and self.stride < 1:
            raise ConfigError(f"stride={self.stride} must be at least 1 px")

    def places(self, slide_info: SlideInfo, tissue_mask: TissueMask) -> list[PatchCoordinate]:
        """Return every patch of the grid, in reading order.

        Raises:
            MissingMppError: If the slide does not say how large its pixels are.
            NoPlaceError: If it has no level for the magnification.
        """
        window = single_window(
            slide_info,
            patch_size=self.patch_size,
            level=self.level,
            target_mpp=self.target_mpp,
            rule=self.rule,
        )
        step = (self.stride or self.patch_size) / self.patch_size
        return list(
            grid_places(
                slide_info,
                tissue_mask,
                window,
                step_l0=(window.width_l0 * step, window.height_l0 * step),
                tissue_threshold=self.tissue_threshold,
            )
        )

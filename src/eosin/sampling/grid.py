"""Patches on a regular grid, each once: for embedding, and for streams that end."""

from dataclasses import dataclass, field
from typing import final

from eosin.errors import ConfigError
from eosin.geometry import MagnificationRule, PatchCoordinate, SlideInfo
from eosin.sampling.base import check_sampler
from eosin.sampling.random import check_target, single_window
from eosin.tissue.mask import Extent, TissueMask


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
        check_sampler(
            patch_size=self.patch_size, num_patches=-1, tissue_threshold=self.tissue_threshold
        )
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
        extent = Extent(window.width_l0, window.height_l0)
        step = (self.stride or self.patch_size) / self.patch_size
        step_x, step_y = window.width_l0 * step, window.height_l0 * step
        num_columns = int((slide_info.width_l0 - window.width_l0) // step_x) + 1
        num_rows = int((slide_info.height_l0 - window.height_l0) // step_y) + 1
        corners = (
            (int(column * step_x), int(row * step_y))
            for row in range(max(0, num_rows))
            for column in range(max(0, num_columns))
        )
        return [
            window.at(slide_info, x, y)
            for x, y in corners
            if tissue_mask.fraction(x, y, extent) >= self.tissue_threshold
        ]

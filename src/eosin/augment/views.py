"""Patches and what was drawn for them to the crops that training takes, on any device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import UInt8
from torch import Tensor

from eosin.augment.replay import replay_batch, require_device_version
from eosin.transforms.base import Transform
from eosin.transforms.parameters import Parameters, read_nested
from eosin.views import ViewConfig, check_views


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceViews:
    """Cuts the views of whole batches; the counterpart of `eosin.views.replay_views`.

    Raises:
        ConfigError: If a transform has no version for the device.
    """

    shared: Transform | None
    """Applied once to the patch that all views are cut from."""
    views: tuple[ViewConfig, ...]
    device: torch.device

    def __post_init__(self) -> None:
        check_views(self.views)
        of_views = [part for view in self.views for part in (view.crop, view.transforms)]
        for transform in (self.shared, *of_views):
            if transform is not None:
                require_device_version(transform)

    def __call__(
        self, patches: UInt8[Tensor, "batch height width 3"], drawn: Sequence[Parameters]
    ) -> dict[str, UInt8[Tensor, "batch _height _width 3"]]:
        """Return each view of all patches, by its name, on the device.

        Args:
            patches: As the stream delivers them, on the CPU or the device.
            drawn: What was drawn for each, as by `eosin.views.draw_views`.
        """
        # Bytes travel, a quarter of what floats would.
        images = patches.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        if self.shared is not None:
            images = replay_batch(
                self.shared, images, [read_nested(each, "shared") for each in drawn]
            ).round()
        of_views = [read_nested(each, "views") for each in drawn]
        return {
            name: self._view(view, images, [read_nested(each, name) for each in of_views])
            for view in self.views
            for name in view.names
        }

    def _view(self, view: ViewConfig, images: Tensor, drawn: Sequence[Parameters]) -> Tensor:
        if view.crop is not None:
            images = replay_batch(view.crop, images, [read_nested(each, "crop") for each in drawn])
        if view.transforms is not None:
            of_view = [read_nested(each, "transforms") for each in drawn]
            images = replay_batch(view.transforms, images, of_view)
        return images.round().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous()

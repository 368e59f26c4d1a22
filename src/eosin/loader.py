"""Batches for training: crops stacked by view, the student's masks, and where all of it came from.

A batch is a pure function of the step: it holds samples [step * size, (step + 1) * size) of the
stream. For training loops of your own there is `eosin.dataset`.
"""

import contextlib
import itertools
import zlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from eosin.augment.views import DeviceViews
from eosin.errors import ConfigError
from eosin.masking import BlockMasking
from eosin.pipeline import PatchPipeline
from eosin.randomness import Purpose, rng_at
from eosin.stream.result import PatchResult
from eosin.transforms.parameters import read_nested
from eosin.views import GLOBAL, LOCAL


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one step trains on."""

    step: int
    samples: tuple[PatchResult, ...]
    global_crops: UInt8[Tensor, "crops height width 3"]
    """First one view of every patch, then the other."""
    local_crops: UInt8[Tensor, "local_crops local_height local_width 3"]
    """View by view; none when there are no local views."""
    masks: Bool[Tensor, "crops patches"]
    """Which patches of the global crops the student does not see."""

    @property
    def places_crc(self) -> int:
        """Return a checksum of which places of which slides the batch holds, in order."""
        crc = 0
        for sample in self.samples:
            at = sample.coordinate
            fingerprint = sample.slide_metadata["fingerprint"]
            crc = zlib.crc32(f"{fingerprint} {at.x} {at.y} {at.level} {at.mpp}".encode(), crc)
        return crc


def train_batches(
    pipeline: PatchPipeline,
    *,
    steps: range,
    batch_size: int,
    grid_size: int,
    masking: BlockMasking,
    device_views: DeviceViews | None = None,
) -> Generator[Batch]:
    """Yield the batches of a range of steps, reading ahead with the pipeline's threads.

    Args:
        pipeline: Delivers views whose names begin with `global` and `local`, or patches with such
            views drawn (`DeferredViews`); its seed draws masks.
        steps: Which steps; the samples of each follow from its number.
        batch_size: Patches of one step.
        grid_size: Model patches along a side of a global crop.
        masking: Of the global crops.
        device_views: Cuts the views that the pipeline only drew; crops are then on its device.

    Raises:
        ConfigError: If the pipeline ends, or its views are not uint8.
    """
    if not pipeline.cycle:
        raise ConfigError("training needs a stream without end; give the pipeline cycle=True")
    samples = pipeline.samples(range(steps.start * batch_size, steps.stop * batch_size))
    with contextlib.closing(samples):
        for step in steps:
            drawn = tuple(itertools.islice(samples, batch_size))
            rng = rng_at(pipeline.seed, Purpose.MASKING, step)
            masks = masking.draw(rng, 2 * batch_size, (grid_size, grid_size))
            views = _stacked_views(drawn) if device_views is None else _cut(drawn, device_views)
            yield Batch(
                step=step,
                samples=drawn,
                global_crops=_of_kind(views, GLOBAL),
                local_crops=_of_kind(views, LOCAL),
                masks=torch.from_numpy(masks),
            )


def to_model_input(
    crops: UInt8[Tensor, "crops height width 3"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
) -> Float[Tensor, "crops 3 height width"]:
    """Return crops on a device, as (grey / 255 - mean) / std."""
    # Bytes travel, a quarter of what floats would.
    pixels = crops.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    scale = torch.tensor([1 / (255 * s) for s in std], device=device)
    offset = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=device)
    return pixels * scale[:, None, None] - offset[:, None, None]


def _stacked_views(samples: Sequence[PatchResult]) -> dict[str, Tensor]:
    """Return each view of all samples, by its name."""
    by_sample = [sample.views or {} for sample in samples]
    floats = [name for name, view in by_sample[0].items() if view.dtype != np.uint8]
    if floats:
        raise ConfigError(
            f"views {', '.join(floats)} are float32 and must be uint8; leave NormalizeTransform "
            "out, training normalizes on the device"
        )
    return {
        name: torch.from_numpy(np.stack([views[name] for views in by_sample]))
        for name in by_sample[0]
    }


def _cut(samples: Sequence[PatchResult], device_views: DeviceViews) -> dict[str, Tensor]:
    """Return each view of all samples, by its name, cut on the device."""
    patches = [sample.image for sample in samples if sample.image is not None]
    if len(patches) < len(samples):
        raise ConfigError(
            "the pipeline delivers views and was to leave them to the device; give it "
            "transforms=DeferredViews(...) instead of views"
        )
    drawn = [read_nested(sample.augmentation, "transforms") for sample in samples]
    return device_views(torch.from_numpy(np.stack(patches)), drawn)


def _of_kind(views: Mapping[str, Tensor], kind: str) -> Tensor:
    crops = [crops for name, crops in views.items() if name.startswith(kind)]
    return torch.cat(crops) if crops else torch.empty(0, 1, 1, 3, dtype=torch.uint8)

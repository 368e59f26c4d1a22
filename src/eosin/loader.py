"""Batches for training: crops stacked by view, the student's masks, and where all of it came from.

    step ─→ global batch, samples [step * size, (step + 1) * size)
         ─→ parts, one after another on every rank, whose gradients add up
         ─→ of each part every rank has the samples whose place in it is rank modulo ranks

All of it follows from the step, so any number of ranks and threads trains on the same. For training
loops of your own there is `eosin.dataset`.
"""

import contextlib
import itertools
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
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
from eosin.stream.result import PatchResult
from eosin.transforms.parameters import read_nested
from eosin.views import GLOBAL, LOCAL


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one rank computes at once: its share of a step, or of a part of it."""

    step: int
    part: int
    """Which of the step's accumulated parts, from 0."""
    samples: tuple[PatchResult, ...]
    global_crops: UInt8[Tensor, "crops height width 3"]
    """First one view of every patch, then the other."""
    local_crops: UInt8[Tensor, "local_crops local_height local_width 3"]
    """View by view; none when there are no local views."""
    masks: Bool[Tensor, "crops patches"]
    """Which patches of the global crops the student does not see."""

    @property
    def places_sum(self) -> int:
        """Return a checksum of which sample is which place of which slide.

        Those of the shares of a step add up to that of the step.
        """
        return sum(_place_crc(sample) for sample in self.samples)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How steps are cut into batches, and which of them a process has.

    Raises:
        ConfigError: If the ranks do not divide a part of the batch.
    """

    batch_size: int
    """Patches of one step, of all ranks and parts together."""
    num_parts: int = 1
    """Accumulated parts of a step."""
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.num_parts * self.world_size):
            raise ConfigError(
                f"global_batch={self.batch_size} in accumulation_steps={self.num_parts} cannot be "
                f"shared by {self.world_size} processes; make it a multiple of "
                f"{self.num_parts * self.world_size}"
            )

    def check_lanes(self, num_lanes: int) -> None:
        """Refuse lanes of a stream that the ranks cannot share whole.

        Raises:
            ConfigError: If the ranks do not divide the lanes.
        """
        if num_lanes % self.world_size:
            raise ConfigError(
                f"data.num_lanes={num_lanes} cannot be shared by {self.world_size} processes; make "
                "it a multiple of them"
            )

    def positions(self, part: int) -> range:
        """Return the places in the global batch of this rank's samples of a part."""
        size = self.batch_size // self.num_parts
        return range(part * size + self.rank, (part + 1) * size, self.world_size)

    def indices(self, steps: range) -> Iterator[int]:
        """Yield the numbers of this rank's samples in the order in which they are used."""
        for step in steps:
            for part in range(self.num_parts):
                first = step * self.batch_size
                yield from (first + position for position in self.positions(part))


def train_batches(
    pipeline: PatchPipeline,
    *,
    steps: range,
    share: Share,
    grid_size: int,
    masking: BlockMasking,
    device_views: DeviceViews | None = None,
) -> Generator[tuple[Batch, ...]]:
    """Yield the parts of each of a range of steps, reading ahead with the pipeline's threads.

    Args:
        pipeline: Delivers views whose names begin with `global` and `local`, or patches with such
            views drawn (`DeferredViews`); its seed draws masks.
        steps: Which steps; the samples of each follow from its number.
        share: What of each step this process has.
        grid_size: Model patches along a side of a global crop.
        masking: Of the global crops.
        device_views: Cuts the views that the pipeline only drew; crops are then on its device.

    Raises:
        ConfigError: If the pipeline ends, its lanes cannot be shared, or its views are not uint8.
    """
    if not pipeline.cycle:
        raise ConfigError("training needs a stream without end; give the pipeline cycle=True")
    share.check_lanes(pipeline.num_lanes)
    samples = pipeline.samples(share.indices(steps))
    # A stream that is left has threads to end, and its reader need not get to the last sample.
    with contextlib.closing(samples):
        for step in steps:
            parts = []
            for part in range(share.num_parts):
                positions = share.positions(part)
                drawn = tuple(itertools.islice(samples, len(positions)))
                crops = [view * share.batch_size + at for view in range(2) for at in positions]
                masks = masking.draw(
                    pipeline.seed,
                    step,
                    crops,
                    num_crops=2 * share.batch_size,
                    grid=(grid_size, grid_size),
                )
                views = _stacked_views(drawn) if device_views is None else _cut(drawn, device_views)
                parts.append(
                    Batch(
                        step=step,
                        part=part,
                        samples=drawn,
                        global_crops=_of_kind(views, GLOBAL),
                        local_crops=_of_kind(views, LOCAL),
                        masks=torch.from_numpy(masks),
                    )
                )
            yield tuple(parts)


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


def _place_crc(sample: PatchResult) -> int:
    at = sample.coordinate
    fingerprint = sample.slide_metadata["fingerprint"]
    return zlib.crc32(f"{sample.index} {fingerprint} {at.x} {at.y} {at.level} {at.mpp}".encode())


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

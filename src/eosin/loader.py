"""Batches for training: crops stacked by view, the student's masks, and where all of it came from.

    step ─→ global batch, samples [step * size, (step + 1) * size)
         ─→ parts, one after another on every rank, whose gradients add up
         ─→ of each part every rank has the samples whose place in it is rank modulo ranks

All of it follows from the step, so any number of ranks and threads trains on the same. While a step
is trained on, a thread puts the next one together, and the pipeline's threads read the one after
that. For training loops of your own there is `eosin.dataset`.
"""

import inspect
import itertools
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from eosin.augment.stacks import crops_of_kind, stack_patches, stack_views
from eosin.augment.views import DeviceViews
from eosin.errors import ConfigError
from eosin.masking import BlockMasking
from eosin.pipeline import PatchPipeline
from eosin.stream.ahead import Leaving, Stop, map_ahead
from eosin.stream.result import PatchResult
from eosin.transforms.parameters import read_nested
from eosin.views import GLOBAL, LOCAL

_PATCHES = "patches"
"""Name of the pixels of patches whose views are not cut yet."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one rank computes at once: its share of a step, or of a part of it."""

    step: int
    part: int
    """Which of the step's accumulated parts, from 0."""
    samples: tuple[PatchResult, ...]
    """Where it came from; without pixels, which are in the crops."""
    global_crops: UInt8[Tensor, "crops height width 3"]
    """First one view of every patch, then the other."""
    local_crops: UInt8[Tensor, "local_crops local_height local_width 3"]
    """View by view; none when there are no local views."""
    masks: Bool[Tensor, "crops patches"]
    """Which patches of the global crops the student does not see."""
    hidden: Int64[Tensor, " hidden"]
    """Numbers of those patches, row by row; a GPU would be waited for to find them."""

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

    @property
    def size(self) -> int:
        """Samples of a step that this rank has."""
        return self.batch_size // self.world_size

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
    is_pinned: bool = False,
    is_left: Callable[[], bool] | None = None,
) -> Generator[tuple[Batch, ...]]:
    """Yield the parts of each of a range of steps, ahead of which the pipeline's threads work.

    With a pipeline without threads nothing is done before it is asked for. Samples are only read;
    what was trained on is the caller's to say (`PatchPipeline.deliver`).

    Args:
        pipeline: Delivers views whose names begin with `global` and `local`, or patches with such
            views drawn (`DeferredViews`); its seed draws masks.
        steps: Which steps; the samples of each follow from its number.
        share: What of each step this process has.
        grid_size: Model patches along a side of a global crop.
        masking: Of the global crops.
        device_views: Cuts the views that the pipeline only drew; crops are then on its device.
        is_pinned: Whether batches lie where a GPU copies them from while others compute.
        is_left: Asked now and then while a step is waited for; once it says yes, there are no more.
            Never asked with a pipeline without threads.

    Raises:
        ConfigError: If the pipeline ends, its lanes cannot be shared, or its views are not uint8.
    """
    if not pipeline.cycle:
        raise ConfigError("training needs a stream without end; give the pipeline cycle=True")
    share.check_lanes(pipeline.num_lanes)
    stop = Stop()
    samples = pipeline.read_ahead(
        share.indices(steps), num_ahead=share.size + pipeline.num_threads, stop=stop
    )
    assemble = _Assembly(
        samples=samples,
        share=share,
        seed=pipeline.seed,
        masking=masking,
        grid_size=grid_size,
        has_views=device_views is None,
        is_pinned=is_pinned,
    )
    num_threads = min(pipeline.num_threads, 1)
    leaving = Leaving(stop.ask, is_left)
    ahead = map_ahead(assemble, steps, num_threads=num_threads, depth=1, leaving=leaving)
    try:
        for parts in ahead:
            yield tuple(_batch(part, device_views) for part in parts)
    finally:
        # A stream that is left has threads to end, and its reader need not get to the last sample.
        ahead.close()
        # What still runs in a thread, when that is what collects garbage, ends by the stop.
        if inspect.getgeneratorstate(samples) != inspect.GEN_RUNNING:
            samples.close()


def to_model_input(
    crops: UInt8[Tensor, "crops height width 3"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
) -> Float[Tensor, "crops 3 height width"]:
    """Return crops on a device, as (grey / 255 - mean) / std."""
    # Bytes travel, a quarter of what floats would.
    pixels = crops.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    scale, offset = _scale_and_offset(mean, std, pixels.device)
    return pixels * scale - offset


@lru_cache(maxsize=16)
def _scale_and_offset(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return what bytes are multiplied by, and what is then taken away, for each channel.

    Kept, for a GPU is waited for to bring them there.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=device)
    offset = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=device)
    return scale[:, None, None], offset[:, None, None]


def _place_crc(sample: PatchResult) -> int:
    at = sample.coordinate
    fingerprint = sample.slide_metadata["fingerprint"]
    return zlib.crc32(f"{sample.index} {fingerprint} {at.x} {at.y} {at.level} {at.mpp}".encode())


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """What can be done for a batch without its device."""

    step: int
    part: int
    samples: tuple[PatchResult, ...]
    """Without pixels."""
    pixels: Mapping[str, Tensor]
    """Crops by kind, or whole patches."""
    masks: Tensor
    hidden: Tensor


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Assembly:
    """Puts the parts of steps together, one step after another."""

    samples: Iterator[PatchResult]
    share: Share
    seed: int
    masking: BlockMasking
    grid_size: int
    has_views: bool
    """Whether samples come as views, not as patches."""
    is_pinned: bool

    def __call__(self, step: int) -> list[_Part]:
        return [self._part(step, part) for part in range(self.share.num_parts)]

    def _part(self, step: int, part: int) -> _Part:
        batch_size, positions = self.share.batch_size, self.share.positions(part)
        samples = tuple(itertools.islice(self.samples, len(positions)))
        masks = self.masking.draw(
            self.seed,
            step,
            [view * batch_size + at for view in range(2) for at in positions],
            num_crops=2 * batch_size,
            grid=(self.grid_size, self.grid_size),
        )
        pixels = (
            stack_views(samples, is_pinned=self.is_pinned)
            if self.has_views
            else {_PATCHES: stack_patches(samples, is_pinned=self.is_pinned)}
        )
        return _Part(
            step=step,
            part=part,
            samples=tuple(replace(sample, image=None, views=None) for sample in samples),
            pixels=pixels,
            masks=self._pinned(torch.from_numpy(masks)),
            hidden=self._pinned(torch.from_numpy(np.flatnonzero(masks))),
        )

    def _pinned(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.is_pinned else tensor


def _batch(part: _Part, device_views: DeviceViews | None) -> Batch:
    crops = part.pixels if device_views is None else _cut(part, device_views)
    return Batch(
        step=part.step,
        part=part.part,
        samples=part.samples,
        global_crops=crops[GLOBAL],
        local_crops=crops[LOCAL],
        masks=part.masks,
        hidden=part.hidden,
    )


def _cut(part: _Part, device_views: DeviceViews) -> dict[str, Tensor]:
    """Return the crops of each kind, cut on the device."""
    drawn = [read_nested(sample.augmentation, "transforms") for sample in part.samples]
    views = device_views(part.pixels[_PATCHES], drawn)
    return {kind: crops_of_kind(views, kind) for kind in (GLOBAL, LOCAL)}

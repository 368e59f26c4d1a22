"""Batches for training: crops stacked by view, the student's masks, and where all of it came from.

A batch is a pure function of the step: it holds samples [step * size, (step + 1) * size) of the
stream. For training loops of your own there is `eosin.dataset`.
"""

import contextlib
import itertools
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from eosin.errors import ConfigError
from eosin.masking import BlockMasking
from eosin.pipeline import PatchPipeline
from eosin.randomness import Purpose, rng_at
from eosin.stream.result import PatchResult
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
) -> Generator[Batch]:
    """Yield the batches of a range of steps, reading ahead with the pipeline's threads.

    Args:
        pipeline: Delivers views whose names begin with `global` and `local`; its seed draws masks.
        steps: Which steps; the samples of each follow from its number.
        batch_size: Patches of one step.
        grid_size: Model patches along a side of a global crop.
        masking: Of the global crops.

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
            yield Batch(
                step=step,
                samples=drawn,
                global_crops=_stack(drawn, GLOBAL),
                local_crops=_stack(drawn, LOCAL),
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


def _stack(samples: tuple[PatchResult, ...], kind: str) -> UInt8[Tensor, "crops height width 3"]:
    names = [name for name in samples[0].views or {} if name.startswith(kind)]
    crops = [sample.views[name] for name in names for sample in samples if sample.views]
    if not crops:
        return torch.empty(0, 1, 1, 3, dtype=torch.uint8)
    if crops[0].dtype != np.uint8:
        raise ConfigError(
            f"{kind} views are {crops[0].dtype} and must be uint8; leave NormalizeTransform out, "
            "training normalizes on the device"
        )
    return torch.from_numpy(np.stack(crops))

"""Which patches of the global crops the student does not see: random blocks, for iBOT."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool

from eosin.errors import ConfigError
from eosin.randomness import Purpose, rng_at

MIN_BLOCK_PATCHES = 4
MAX_BLOCK_FRACTION = 0.5
"""No block hides more than this part of the grid at once."""
LOG_ASPECT_RANGE = (math.log(0.3), math.log(1 / 0.3))
NUM_TRIES = 10
"""How many blocks are tried before a mask is left a few patches short."""


def draw_mask(
    rng: np.random.Generator, grid_height: int, grid_width: int, num_masked: int
) -> Bool[np.ndarray, "height width"]:
    """Return a mask of rectangular blocks with `num_masked` patches or a few fewer, never more.

    Source: facebookresearch/dinov2 b8931f7, data/masking.py (after BEiT).
    """
    mask = np.zeros((grid_height, grid_width), dtype=bool)
    max_block = MAX_BLOCK_FRACTION * mask.size
    num_left = num_masked
    while num_left > 0:
        num_added = _add_block(rng, mask, max_added=min(float(num_left), max_block))
        if num_added == 0:
            break
        num_left -= num_added
    return mask


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockMasking:
    """Which global crops of a batch are masked, and how much of each.

    Source: facebookresearch/dinov2 b8931f7, data/collate.py.
    """

    probability: float = 0.5
    """Share of the crops that have a mask."""
    ratio_range: tuple[float, float] = (0.1, 0.5)
    """The smallest and the largest masked fraction of a masked crop."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"masking.probability={self.probability} must be a share from 0 to 1")
        low, high = self.ratio_range
        if not 0 <= low <= high < 1:
            raise ConfigError(
                f"masking.ratio_range=({low}, {high}) must be two rising shares below 1"
            )

    def draw(
        self, seed: int, step: int, crops: Sequence[int], *, num_crops: int, grid: tuple[int, int]
    ) -> Bool[np.ndarray, "crops patches"]:
        """Return the masks of some of the global crops of a step, flattened row by row.

        Of all crops of the step exactly `int(probability * num_crops)` have a mask, in random
        order. The range of masked fractions is cut into as many equal parts, one for each. The
        blocks of a crop follow from its number alone, so all who share out a step mask alike.

        Args:
            seed: Of the run.
            step: Number of the step.
            crops: Numbers of the crops that are asked for, from 0.
            num_crops: All global crops of the step together.
            grid: Rows and columns of patches of one crop.
        """
        rows, columns = grid
        num_masked_crops = int(self.probability * num_crops)
        edges = np.linspace(*self.ratio_range, num_masked_crops + 1)
        parts = rng_at(seed, Purpose.MASKING, step).permutation(num_crops)
        masks = np.zeros((len(crops), rows * columns), dtype=bool)
        for row, crop in enumerate(crops):
            part = parts[crop]
            if part < num_masked_crops:
                rng = rng_at(seed, Purpose.MASKING, step, 1 + crop)
                num_masked = int(rows * columns * rng.uniform(edges[part], edges[part + 1]))
                masks[row] = draw_mask(rng, rows, columns, num_masked).ravel()
        return masks


def _add_block(rng: np.random.Generator, mask: np.ndarray, *, max_added: float) -> int:
    """Hide one more block in place and return how many patches it newly hides, 0 if none fits."""
    rows, columns = mask.shape
    for _ in range(NUM_TRIES):
        # Towards the end fewer patches are left than the smallest block has: the range turns round.
        area = MIN_BLOCK_PATCHES + rng.random() * (max_added - MIN_BLOCK_PATCHES)
        aspect = math.exp(rng.uniform(*LOG_ASPECT_RANGE))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= rows or width >= columns:
            continue
        top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        block = mask[top : top + height, left : left + width]
        num_added = block.size - int(block.sum())
        if 0 < num_added <= max_added:
            block[:] = True
            return num_added
    return 0

"""Randomness that is addressed, not carried: a place in the run names its own generator.

Nothing that was drawn before changes what is drawn here, so a stream can start anywhere.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are for; each purpose has streams of its own."""

    SLIDE_ORDER = 0
    MAGNIFICATION = 1
    PLACE = 2
    AUGMENTATION = 3
    MASKING = 4
    MODEL = 5
    HELD_OUT = 6


def rng_at(seed: int, purpose: Purpose, index: int = 0, part: int = 0) -> np.random.Generator:
    """Return the generator of one place in a run.

    Args:
        seed: Of the whole run.
        purpose: What the numbers are for.
        index: Sample, step or pass that they belong to.
        part: Attempt or view within it.
    """
    # A spawn key of fixed length: as entropy, [1], [1, 0] and [1, 0, 0] would be the same seed.
    key = (int(purpose), index, part)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

"""Mask to place: which patches of a slide to read."""

from eosin.sampling.base import PatchSampler
from eosin.sampling.continuous_magnification import ContinuousMagnificationSampler
from eosin.sampling.grid import GridSampler
from eosin.sampling.multi_magnification import MultiMagnificationSampler
from eosin.sampling.places import Places
from eosin.sampling.random import RandomSampler

__all__ = [
    "ContinuousMagnificationSampler",
    "GridSampler",
    "MultiMagnificationSampler",
    "PatchSampler",
    "Places",
    "RandomSampler",
]

"""Mask to place: which patches of a slide to read."""

from eosin.sampling.base import PatchSampler
from eosin.sampling.grid import GridSampler
from eosin.sampling.multi_magnification import MultiMagnificationSampler
from eosin.sampling.random import RandomSampler

__all__ = ["GridSampler", "MultiMagnificationSampler", "PatchSampler", "RandomSampler"]

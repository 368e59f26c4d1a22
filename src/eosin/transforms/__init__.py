"""Pixels to pixels: augmentation and what comes after it."""

from eosin.transforms.base import ComposeTransforms, Transform
from eosin.transforms.flip import RandomFlipRotate
from eosin.transforms.hed import HEDColorAugmentation
from eosin.transforms.normalize import NormalizeTransform
from eosin.transforms.resize import ResizeTransform

__all__ = [
    "ComposeTransforms",
    "HEDColorAugmentation",
    "NormalizeTransform",
    "RandomFlipRotate",
    "ResizeTransform",
    "Transform",
]

"""Pixels to pixels: augmentation and what comes after it."""

from eosin.transforms.base import ComposeTransforms, Transform
from eosin.transforms.blur import GaussianBlur
from eosin.transforms.flip import RandomFlipRotate
from eosin.transforms.grayscale import Grayscale
from eosin.transforms.hed import HEDColorAugmentation
from eosin.transforms.jitter import ColorJitter
from eosin.transforms.normalize import NormalizeTransform
from eosin.transforms.random_apply import RandomApply
from eosin.transforms.resize import ResizeTransform
from eosin.transforms.solarize import Solarize

__all__ = [
    "ColorJitter",
    "ComposeTransforms",
    "GaussianBlur",
    "Grayscale",
    "HEDColorAugmentation",
    "NormalizeTransform",
    "RandomApply",
    "RandomFlipRotate",
    "ResizeTransform",
    "Solarize",
    "Transform",
]

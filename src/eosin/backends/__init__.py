"""File to pixels: readers that open a slide and give any region of it as RGB."""

from eosin.backends.auto import AutoBackend
from eosin.backends.base import Slide, SlideBackend
from eosin.backends.image import ImageBackend
from eosin.backends.mpp import MppPolicy
from eosin.backends.openslide import OpenSlideBackend
from eosin.backends.patch import read_patch
from eosin.backends.synthetic import SyntheticBackend
from eosin.backends.tiff import TiffBackend

__all__ = [
    "AutoBackend",
    "ImageBackend",
    "MppPolicy",
    "OpenSlideBackend",
    "Slide",
    "SlideBackend",
    "SyntheticBackend",
    "TiffBackend",
    "read_patch",
]

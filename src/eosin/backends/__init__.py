"""File to pixels: readers that open a slide and give any region of it as RGB."""

from eosin.backends.base import Slide, SlideBackend
from eosin.backends.openslide import OpenSlideBackend
from eosin.backends.patch import read_patch
from eosin.backends.synthetic import SyntheticBackend

__all__ = ["OpenSlideBackend", "Slide", "SlideBackend", "SyntheticBackend", "read_patch"]

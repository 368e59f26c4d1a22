"""Thumbnail to mask: where the tissue of a slide is."""

from eosin.tissue.base import TissueDetector, TissueSource
from eosin.tissue.folder import MaskFolder
from eosin.tissue.hsv import HSVTissueDetector
from eosin.tissue.mask import TissueMask
from eosin.tissue.otsu import OtsuTissueDetector
from eosin.tissue.store import MaskStore

__all__ = [
    "HSVTissueDetector",
    "MaskFolder",
    "MaskStore",
    "OtsuTissueDetector",
    "TissueDetector",
    "TissueMask",
    "TissueSource",
]

"""Thumbnail to mask: where the tissue of a slide is."""

from eosin.tissue.base import TissueDetector, TissueSource
from eosin.tissue.hsv import HSVTissueDetector
from eosin.tissue.mask import TissueMask
from eosin.tissue.otsu import OtsuTissueDetector

__all__ = [
    "HSVTissueDetector",
    "OtsuTissueDetector",
    "TissueDetector",
    "TissueMask",
    "TissueSource",
]

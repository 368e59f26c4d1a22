"""Thumbnail to mask: where the tissue of a slide is."""

from eosin.tissue.base import TissueDetector, TissueSource
from eosin.tissue.clam import CLAMTissueDetector
from eosin.tissue.combined import CombinedTissueDetector
from eosin.tissue.faint import FaintTissueDetector
from eosin.tissue.folder import MaskFolder
from eosin.tissue.hsv import HSVTissueDetector
from eosin.tissue.mask import TissueMask
from eosin.tissue.otsu import OtsuTissueDetector
from eosin.tissue.pen import PenFreeDetector
from eosin.tissue.scanned import ScannedAreaDetector
from eosin.tissue.store import MaskStore

__all__ = [
    "CLAMTissueDetector",
    "CombinedTissueDetector",
    "FaintTissueDetector",
    "HSVTissueDetector",
    "MaskFolder",
    "MaskStore",
    "OtsuTissueDetector",
    "PenFreeDetector",
    "ScannedAreaDetector",
    "TissueDetector",
    "TissueMask",
    "TissueSource",
]

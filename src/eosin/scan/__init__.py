"""A look at every slide before anything is trained: what there is, and what cannot be used."""

from eosin.scan.index import check_places
from eosin.scan.plan import ScanPlan
from eosin.scan.run import scan_slides
from eosin.scan.slide import ScannedSlide
from eosin.scan.summary import summary

__all__ = ["ScanPlan", "ScannedSlide", "check_places", "scan_slides", "summary"]

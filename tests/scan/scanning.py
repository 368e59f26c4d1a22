"""Scans of slides without files."""

from pathlib import Path

from eosin.backends import SyntheticBackend
from eosin.catalog import SlideEntry
from eosin.sampling import MultiMagnificationSampler
from eosin.scan import ScanPlan, scan_slides
from eosin.tissue import HSVTissueDetector


def plan_of(backend=None, **settings) -> ScanPlan:
    defaults = {
        "backend": backend or SyntheticBackend(),
        "tissue_source": HSVTissueDetector(),
        "sampler": MultiMagnificationSampler(target_mpps=(0.25, 1.0), patch_size=32),
        "num_candidates": 2,
    }
    return ScanPlan(**{**defaults, **settings})


def entries_of(*paths: str, **metadata) -> list[SlideEntry]:
    return [SlideEntry(path=path, metadata=metadata) for path in paths]


def scan(folder: Path, *paths: str, plan: ScanPlan | None = None, **settings):
    """Scan and return the rows by name."""
    found = scan_slides(entries_of(*paths), folder / "index.parquet", plan or plan_of(), **settings)
    return {slide.name: slide for slide in found}

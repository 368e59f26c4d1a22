"""Procedurally drawn slides that look like H&E from afar, for demo and tests only."""

from eosin.phantom.folder import write_phantoms
from eosin.phantom.labels import LabelMap, read_labels, read_spec
from eosin.phantom.slide import draw_phantom, write_phantom
from eosin.phantom.spec import CLASSES, PhantomSpec

__all__ = [
    "CLASSES",
    "LabelMap",
    "PhantomSpec",
    "draw_phantom",
    "read_labels",
    "read_spec",
    "write_phantom",
    "write_phantoms",
]

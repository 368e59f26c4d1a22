"""Pixels to keep or not: judges that know no slide."""

from eosin.filters.base import PatchFilter
from eosin.filters.hsv import HSVPatchFilter

__all__ = ["HSVPatchFilter", "PatchFilter"]

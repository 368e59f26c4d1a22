"""The order of it all: which sample is what, read ahead, and what went wrong."""

from eosin.stream.result import PatchResult
from eosin.stream.stats import StreamStats

__all__ = ["PatchResult", "StreamStats"]

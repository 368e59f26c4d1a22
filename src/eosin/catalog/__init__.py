"""Which slides there are and what is known about them: lists, conditions, splits, weights."""

from eosin.catalog.entry import SlideEntry, mpp_overrides
from eosin.catalog.held_out import held_out
from eosin.catalog.listing import Slides, list_slides
from eosin.catalog.weights import SlideWeights

__all__ = ["SlideEntry", "SlideWeights", "Slides", "held_out", "list_slides", "mpp_overrides"]

"""Which slides there are and what is known about them: lists, conditions, splits, weights."""

from eosin.catalog.anonymous import SlideNames, anonymous_slides, slide_key, without_names
from eosin.catalog.entry import SlideEntry, mpp_overrides
from eosin.catalog.held_out import held_out
from eosin.catalog.listing import Slides, list_and_left_out, list_slides
from eosin.catalog.weights import SlideWeights

__all__ = [
    "SlideEntry",
    "SlideNames",
    "SlideWeights",
    "Slides",
    "anonymous_slides",
    "held_out",
    "list_and_left_out",
    "list_slides",
    "mpp_overrides",
    "slide_key",
    "without_names",
]

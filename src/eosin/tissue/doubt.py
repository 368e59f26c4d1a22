"""Masks that may be wrong: nearly all of a slide, nearly all of its border, or hardly anything.

Detectors that compare colours with fixed ranges take tinted glass for tissue, and another stain for
glass. What looks like that is compared with `FaintTissueDetector`, which counts colours from the
slide's own glass; only where the two differ much is it said. Masks themselves are never changed.
"""

import numpy as np

from eosin.backends.base import Slide
from eosin.errors import SlideError
from eosin.tissue.base import TissueDetector, TissueSource
from eosin.tissue.clam import CLAMTissueDetector
from eosin.tissue.faint import FaintTissueDetector
from eosin.tissue.hsv import HSVTissueDetector
from eosin.tissue.mask import TissueMask
from eosin.tissue.otsu import OtsuTissueDetector

DETECTORS: dict[str, TissueDetector] = {
    "hsv": HSVTissueDetector(),
    "faint": FaintTissueDetector(),
    "otsu": OtsuTissueDetector(),
    "clam": CLAMTissueDetector(),
}
"""By the names that the command line has for them (--tissue-detector)."""

_NEARLY_ALL = 0.95
_ALL = 0.98
_NEARLY_ALL_OF_BORDER = 0.9
_HARDLY_ANY = 0.02

_LESS, _LESS_OF_BORDER = 0.1, 0.3
"""Of a slide, and of its border, that the other detector must leave out to be worth a word."""
_TIMES_MORE, _MORE = 3.0, 0.005

_REFERENCE = DETECTORS["faint"]
_NAME = type(_REFERENCE).__name__
_OTHERWISE = "its stain is not H&E, or its pieces are small"
_TAKE_IT = "look at it with 'eosin preview' and take --tissue-detector faint"


def mask_note(slide: Slide, tissue: TissueMask, source: TissueSource) -> str | None:
    """Return why a mask should be looked at, in a line; None for most.

    Args:
        slide: Open; a thumbnail of it is read where the mask looks odd.
        tissue: Its mask, not empty.
        source: Where the mask is from. Those that people drew are believed.
    """
    if not isinstance(source, TissueDetector):
        return None
    share, border = tissue.tissue_fraction, _border_share(tissue)
    is_all = share >= _NEARLY_ALL
    if not (is_all or border >= _NEARLY_ALL_OF_BORDER or share <= _HARDLY_ANY):
        return None
    name = type(source).__name__
    no_glass = (
        f"{name} takes all of it for tissue, which is right for a region without glass alone: look "
        "at it with 'eosin preview'"
    )
    if isinstance(source, FaintTissueDetector):
        return f"{no_glass}, and try --tissue-detector otsu" if share >= _ALL else None
    try:
        other = _REFERENCE.tissue(slide)
    except SlideError:
        return None
    other_share, other_border = other.tissue_fraction, _border_share(other)
    if is_all and other_share <= share - _LESS:
        return (
            f"{name} takes nearly all of it for tissue and {_NAME}, which counts from the slide's "
            f"own glass, much less: {_TAKE_IT} if its glass is tinted"
        )
    if border >= _NEARLY_ALL_OF_BORDER and other_border <= border - _LESS_OF_BORDER:
        return (
            f"{name} takes nearly all of its border for tissue and {_NAME}, which counts from the "
            f"slide's own glass, much less: {_TAKE_IT} if its glass is tinted"
        )
    if share <= _HARDLY_ANY and other_share >= max(_TIMES_MORE * share, _MORE):
        return (
            f"{name} finds hardly any tissue on it and {_NAME}, which counts from the slide's own "
            f"glass, several times as much: {_TAKE_IT} if {_OTHERWISE}"
        )
    return no_glass if share >= _ALL else None


def no_tissue(slide: Slide, source: TissueSource) -> str:
    """Return why a slide whose mask is empty cannot be used, and what to do about it."""
    reason = f"{type(source).__name__} finds no tissue on it"
    if not isinstance(source, TissueDetector):
        return reason
    if isinstance(source, FaintTissueDetector):
        return f"{reason}; it may be glass alone, or try --tissue-detector otsu"
    try:
        other = _REFERENCE.tissue(slide)
    except SlideError:
        return reason
    if other.is_empty:
        return f"{reason}, and neither does {_NAME}; it may be glass alone"
    return (
        f"{reason}, and {_NAME}, which counts from the slide's own glass, finds "
        f"{other.tissue_fraction:.1%} of it; {_TAKE_IT} if {_OTHERWISE}"
    )


def _border_share(tissue: TissueMask) -> float:
    mask = tissue.mask
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(border.mean())

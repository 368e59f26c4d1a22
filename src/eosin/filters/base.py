"""What every patch filter does."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import UInt8


class PatchFilter(ABC):
    """Says whether a patch is worth training on."""

    @abstractmethod
    def accept(self, image: UInt8[np.ndarray, "height width 3"]) -> bool:
        """Return whether to keep an RGB patch."""


def filter_note(patch_filter: PatchFilter, num_tried: int) -> str:
    """Return what to say of a slide of which a filter has turned away every patch, in a line."""
    return (
        f"0 of {num_tried} patches that were tried pass {patch_filter}: look at them with 'eosin "
        "preview', and take --patch-filter all if the stain is not H&E, such as brown immunostains"
    )

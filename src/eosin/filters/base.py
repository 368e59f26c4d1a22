"""What every patch filter does."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import UInt8


class PatchFilter(ABC):
    """Says whether a patch is worth training on."""

    @abstractmethod
    def accept(self, image: UInt8[np.ndarray, "height width 3"]) -> bool:
        """Return whether to keep an RGB patch."""


def filter_note(patch_filter: PatchFilter) -> str:
    """Return what to say of a slide of which a filter has turned away every patch, in a line."""
    return (
        f"{patch_filter} turns away every patch that was tried: look at them with 'eosin preview', "
        "and take --patch-filter all if the stain is not H&E, such as brown immunostains"
    )

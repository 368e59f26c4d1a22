"""What every patch filter does."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import UInt8


class PatchFilter(ABC):
    """Says whether a patch is worth training on."""

    @abstractmethod
    def accept(self, image: UInt8[np.ndarray, "height width 3"]) -> bool:
        """Return whether to keep an RGB patch."""

"""What colour transforms ask of their input."""

import numpy as np

from eosin.errors import ConfigError
from eosin.transforms.base import Image


def require_bytes(image: Image, who: str) -> None:
    """Refuse floats by the name of the transform that got them.

    Raises:
        ConfigError: If the image is not uint8.
    """
    if image.dtype != np.uint8:
        raise ConfigError(f"{who} works on uint8; put it before NormalizeTransform")

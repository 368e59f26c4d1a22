"""Colour alone, as an encoder: what any model has to beat before its numbers mean anything."""

from typing import final

import numpy as np
import torch
from jaxtyping import UInt8

from eosin.embed.encoder import Encoder
from eosin.models.vit import Tokens

_NUM_BINS = 16


@final
class ColourHistogram(Encoder):
    """Describe an image by how often each of 16 levels of red, green and blue occurs."""

    name = "colour histogram"
    weights_sha256 = "none"
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self, input_size_px: int = 112) -> None:
        self.input_size_px = input_size_px

    def __call__(self, images: UInt8[np.ndarray, "batch height width 3"]) -> Tokens:
        """Return square roots of shares, so that their cosine is the Bhattacharyya coefficient.

        The one patch token says the same as the class token; there are no registers.
        """
        batch = len(images)
        levels = images.reshape(batch, -1, 3) // (256 // _NUM_BINS)
        # One number a pixel, channel and image, so that a single count does for all.
        bins = levels + np.arange(3) * _NUM_BINS + np.arange(batch)[:, None, None] * 3 * _NUM_BINS
        counts = np.bincount(bins.ravel(), minlength=batch * 3 * _NUM_BINS)
        shares = counts.reshape(batch, 3 * _NUM_BINS) / levels.shape[1] / 3
        tokens = torch.from_numpy(np.sqrt(shares).astype(np.float32))
        return Tokens(cls=tokens, registers=tokens[:, None][:, :0], patches=tokens[:, None])

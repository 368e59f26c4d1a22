"""Colour transforms of a batch, in grey levels from 0 to 255, each image by what it drew.

Each step is rounded as on the CPU, so that the next one starts from the same.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eosin.transforms.grayscale import LUMA
from eosin.transforms.hed import EPSILON, stain_affine
from eosin.transforms.hue import MAX_TURN
from eosin.transforms.jitter import CHANGES
from eosin.transforms.parameters import Parameters, read_number, read_numbers

_LUMA_IN_32768THS = np.array([9798, 19235, 3735])
"""Source: OpenCV 4 and 5, modules/imgproc/src/color.hpp."""

Images = Float[Tensor, "batch 3 height width"]


def perturb_stains_batch(images: Images, drawn: Sequence[Parameters]) -> Images:
    """Return images with their stains scaled and shifted, as `HEDColorAugmentation` does."""
    pairs = [
        stain_affine(
            np.array(read_numbers(each, "alpha"), dtype=np.float64),
            np.array(read_numbers(each, "beta"), dtype=np.float64),
        )
        for each in drawn
    ]
    linear = _tensor(np.stack([linear.T for linear, _ in pairs]), images)
    shift = _tensor(np.stack([shift for _, shift in pairs]), images)
    density = -torch.log(images / 255 + EPSILON).flatten(2)  # b 3 pixels
    light = torch.exp(-torch.baddbmm(shift[..., None], linear, density)) - EPSILON
    return _rounded(light.view_as(images) * 255)


def greyscale_batch(images: Images) -> Images:
    """Return the luma in all channels."""
    return _luma(images).expand_as(images)


def solarize_batch(images: Images, threshold: int) -> Images:
    """Return images with every grey level from the threshold on turned over."""
    return torch.where(images >= threshold, 255 - images, images)


def jitter_batch(images: Images, drawn: Sequence[Parameters]) -> Images:
    """Return images with brightness, contrast, saturation and hue changed in their own orders."""
    images = images.clone()
    orders = [read_numbers(each, "order") for each in drawn]
    for position in range(len(CHANGES)):
        for number, name in enumerate(CHANGES):
            chosen = [i for i, order in enumerate(orders) if order[position] == number]
            if chosen:
                at = torch.tensor(chosen, device=images.device)
                amounts = [read_number(drawn[i], name) for i in chosen]
                images[at] = _changed(images[at], name, amounts)
    return images


def _changed(images: Tensor, name: str, amounts: Sequence[int | float]) -> Tensor:
    amount = _tensor(np.array(amounts), images)[:, None, None, None]
    match name:
        case "brightness":
            return _rounded(images * amount)
        case "contrast":
            grey = (images.mean((2, 3)) @ _tensor(np.array(LUMA), images) + 0.5).floor()
            return _rounded(amount * images + (1 - amount) * grey[:, None, None, None])
        case "saturation":
            return _rounded(amount * images + (1 - amount) * _luma(images))
        case _:
            return _rounded(_turn_hue(images, amount))


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn hues by shares of the circle up to 1/6, rounding where `eosin.transforms.hue` does."""
    forward = turn >= 0
    in_two = turn.abs() > MAX_TURN
    first = 6 * turn.abs() / (1 + in_two)
    for sixths in (first, first * in_two):
        top, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
        following = torch.where(forward, images.roll(-1, 1), images.roll(1, 1))
        change = (sixths * (top - low)).round()
        down = (change - (top - following)).clamp_(min=0)
        up = (change - (following - low)).clamp_(min=0)
        images = torch.minimum(top, torch.maximum(low, images - down) + up)
    return images


def _luma(images: Tensor) -> Tensor:
    """Return what OpenCV's conversion to grey gives for bytes, to the bit."""
    shares = _tensor(_LUMA_IN_32768THS, images)[:, None, None]
    return (((images * shares).sum(1, keepdim=True) + 16384) / 32768).floor()


def _rounded(images: Tensor) -> Tensor:
    return images.clamp(0, 255).round()


def _tensor(numbers: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(numbers).to(like.device, like.dtype)

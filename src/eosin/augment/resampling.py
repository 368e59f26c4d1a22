"""Crops and blurs as two matrix products an image: rows by one matrix, columns by another.

out = V image H^T, with V (out height x height) and H (out width x width) of each image's own. That
is what OpenCV's separable interpolation is, written so that a batch takes one product.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eosin.transforms.blur import GaussianBlur
from eosin.views import CropBox, Resampling, resampling

_CUBIC = -0.75
"""Sharpness of OpenCV's cubic kernel."""

Images = Float[Tensor, "batch 3 height width"]
Weights = Float[Tensor, "batch out length"]


def crop_and_resize(
    images: Float[Tensor, "batch 3 height width"], boxes: Sequence[CropBox], size: int
) -> Float[Tensor, "batch 3 size size"]:
    """Return one box of each image at `size` x `size` pixels, as `RandomResizedCrop` does.

    Within one grey level of OpenCV, which calculates in fixed point.
    """
    results = images.new_empty(len(boxes), 3, size, size)
    groups: dict[Resampling, list[int]] = {}
    for number, box in enumerate(boxes):
        groups.setdefault(resampling(box.width, box.height, size), []).append(number)
    for method, members in groups.items():
        at = torch.tensor(members, device=images.device)
        chosen = [boxes[number] for number in members]
        results[at] = _resized(images[at], chosen, size, method)
    return results


def _resized(images: Tensor, boxes: Sequence[CropBox], size: int, method: Resampling) -> Tensor:
    if method == "halved":
        # Rounded in between, as bytes are.
        twice = _resized(images, boxes, 2 * size, "cubic").round_()
        return torch.nn.functional.avg_pool2d(twice, 2)
    x, y, widths, heights = (
        torch.tensor(numbers, dtype=torch.float32, device=images.device)
        for numbers in zip(*boxes, strict=True)
    )
    weights = _area_weights if method == "area" else _cubic_weights
    height, width = images.shape[-2:]
    vertical = weights(y, heights, size, height)
    return _resample(images, vertical, weights(x, widths, size, width)).clamp_(0, 255)


def blur(
    images: Float[Tensor, "batch 3 height width"], kind: GaussianBlur, sigmas: Sequence[int | float]
) -> Float[Tensor, "batch 3 height width"]:
    """Return each image blurred with its own sigma, in pixels; mirrored at the edges."""
    reach = kind.kernel_size // 2
    kernels = torch.zeros(len(sigmas), kind.kernel_size)
    for row, sigma in zip(kernels, sigmas, strict=True):
        kernel = torch.from_numpy(kind.kernel(sigma)[:, 0])
        row[reach - len(kernel) // 2 : reach + len(kernel) // 2 + 1] = kernel
    kernels = kernels.to(images.device)
    vertical, horizontal = (_blur_weights(kernels, length) for length in images.shape[-2:])
    return _resample(images, vertical, horizontal)


def _resample(images: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    # (b 1 out_h h) (b 3 h w) (b 1 w out_w) -> b 3 out_h out_w
    return vertical[:, None] @ images @ horizontal[:, None].transpose(-1, -2)


def _area_weights(start: Tensor, length: Tensor, size: int, whole: int) -> Tensor:
    """Return the share of each output pixel's area in each input pixel."""
    scale = (length / size)[:, None, None]
    outputs = torch.arange(size, device=start.device)[None, :, None]
    inputs = torch.arange(whole, device=start.device)[None, None]
    low = start[:, None, None] + outputs * scale
    overlap = torch.minimum(low + scale, inputs + 1) - torch.maximum(low, inputs.float())
    return overlap.clamp_(min=0) / scale


def _cubic_weights(start: Tensor, length: Tensor, size: int, whole: int) -> Tensor:
    """Return the weight of each input pixel by cubic convolution; box edges are repeated."""
    outputs = torch.arange(size, device=start.device) + 0.5
    centre = outputs * (length / size)[:, None] - 0.5  # b out
    first = centre.floor()
    t = centre - first
    taps = torch.stack([_cubic(1 + t), _cubic(t), _cubic(1 - t), _cubic(2 - t)], -1)
    steps = torch.arange(-1, 3, device=start.device)
    at = (first[..., None] + steps).clamp(min=0).minimum(length[:, None, None] - 1)
    index = (at + start[:, None, None]).long()
    weights = torch.zeros(len(start), size, whole, device=start.device)
    return weights.scatter_add_(2, index, taps)


def _cubic(distance: Tensor) -> Tensor:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return torch.where(distance <= 1, near, far)


def _blur_weights(kernels: Tensor, length: int) -> Tensor:
    num, taps = kernels.shape
    reach = taps // 2
    pixels = torch.arange(length, device=kernels.device)
    at = pixels[:, None] + torch.arange(-reach, reach + 1, device=kernels.device)
    at = (length - 1) - ((length - 1) - at.abs()).abs()
    weights = torch.zeros(num, length, length, device=kernels.device)
    return weights.scatter_add_(
        2, at.expand(num, -1, -1), kernels[:, None].expand(-1, length, -1).contiguous()
    )

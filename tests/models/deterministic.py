"""Weights and images that are the same on every machine without a file: sines of the position."""

import torch
from torch import Tensor, nn


def sines(*shape: int, step: float = 0.37, phase: float = 1.3) -> Tensor:
    """Return sin(step * i + phase) for the i-th element, computed in float64."""
    positions = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(positions * step + phase).float().view(*shape)


def fill(module: nn.Module) -> None:
    """Set the k-th parameter to 0.2 * sines of phase k, with 1 added to the weights of norms."""
    with torch.no_grad():
        for k, (name, parameter) in enumerate(module.named_parameters()):
            parameter.copy_(0.2 * sines(*parameter.shape, phase=float(k)))
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)


def digest(x: Tensor) -> list[float]:
    """Return the first two elements, the last, and the product with sines: enough to tell apart."""
    flat = x.detach().double().flatten()
    weights = sines(flat.numel(), step=0.9, phase=0.1).double()
    return [float(flat[0]), float(flat[1]), float(flat[-1]), float((flat * weights).sum())]


def summary(x: Tensor) -> list[float]:
    """Return the first element, the middle one, the last, the mean and the norm of all."""
    flat = x.detach().double().flatten()
    some = [float(flat[i]) for i in (0, len(flat) // 2, -1)]
    return [*some, float(flat.mean()), float(flat.norm())]

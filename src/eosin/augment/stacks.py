"""Pixels of many samples as one tensor, each copied once to where it stays."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from eosin.errors import ConfigError
from eosin.stream.result import PatchResult
from eosin.transforms.base import Image
from eosin.views import GLOBAL, LOCAL


def stack_views(
    samples: Sequence[PatchResult], *, is_pinned: bool
) -> dict[str, UInt8[Tensor, "crops _height _width 3"]]:
    """Return the crops of each kind, view by view.

    Args:
        samples: With views.
        is_pinned: Whether they lie where a GPU copies them from while others compute.

    Raises:
        ConfigError: If views are not uint8.
    """
    by_sample = [sample.views or {} for sample in samples]
    floats = [name for name, view in by_sample[0].items() if view.dtype != np.uint8]
    if floats:
        raise ConfigError(
            f"views {', '.join(floats)} are float32 and must be uint8; leave NormalizeTransform "
            "out, training normalizes on the device"
        )
    return {
        kind: _stack(
            [views[name] for name in by_sample[0] if name.startswith(kind) for views in by_sample],
            is_pinned=is_pinned,
        )
        for kind in (GLOBAL, LOCAL)
    }


def stack_patches(
    samples: Sequence[PatchResult], *, is_pinned: bool
) -> UInt8[Tensor, "batch height width 3"]:
    """Return the patches whose views a device cuts.

    Args:
        samples: Without views.
        is_pinned: Whether they lie where a GPU copies them from while others compute.

    Raises:
        ConfigError: If samples come as views.
    """
    patches = [sample.image for sample in samples if sample.image is not None]
    if len(patches) < len(samples):
        raise ConfigError(
            "the pipeline delivers views and was to leave them to the device; give it "
            "transforms=DeferredViews(...) instead of views"
        )
    return _stack(patches, is_pinned=is_pinned)


def crops_of_kind(views: dict[str, Tensor], kind: str) -> UInt8[Tensor, "crops height width 3"]:
    """Return the views whose names begin with a kind, one after another; none is no crops."""
    crops = [crops for name, crops in views.items() if name.startswith(kind)]
    return torch.cat(crops) if crops else _no_crops()


def _stack(images: Sequence[Image], *, is_pinned: bool) -> UInt8[Tensor, "n height width 3"]:
    if not images:
        return _no_crops()
    shape = (len(images), *images[0].shape)
    stack = torch.empty(shape, dtype=torch.uint8, pin_memory=is_pinned)
    np.stack(images, out=stack.numpy())
    return stack


def _no_crops() -> UInt8[Tensor, "none 1 1 3"]:
    return torch.empty(0, 1, 1, 3, dtype=torch.uint8)

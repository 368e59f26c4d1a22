"""Which transform of a patch is which transform of a batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eosin.augment.colour import (
    greyscale_batch,
    jitter_batch,
    perturb_stains_batch,
    solarize_batch,
)
from eosin.augment.resampling import blur, crop_and_resize
from eosin.errors import ConfigError
from eosin.transforms.base import ComposeTransforms, Transform
from eosin.transforms.blur import GaussianBlur
from eosin.transforms.flip import RandomFlipRotate
from eosin.transforms.grayscale import Grayscale
from eosin.transforms.hed import HEDColorAugmentation
from eosin.transforms.jitter import ColorJitter
from eosin.transforms.parameters import Parameters, read_nested, read_number
from eosin.transforms.random_apply import RandomApply
from eosin.transforms.solarize import Solarize
from eosin.views import RandomResizedCrop, read_box

ON_DEVICE = (
    RandomResizedCrop,
    RandomFlipRotate,
    HEDColorAugmentation,
    ColorJitter,
    Grayscale,
    GaussianBlur,
    Solarize,
)
"""What can be done to a batch, beside compositions of these and `RandomApply` of one."""


def require_device_version(transform: Transform) -> None:
    """Refuse a transform that only the CPU can do.

    Raises:
        ConfigError: Naming it.
    """
    match transform:
        case ComposeTransforms():
            for step in transform.transforms:
                require_device_version(step)
        case RandomApply():
            require_device_version(transform.transform)
        case _ if not isinstance(transform, ON_DEVICE):
            names = ", ".join(kind.__name__ for kind in ON_DEVICE)
            raise ConfigError(
                f"{type(transform).__name__} cannot run on the device, where there are {names}; "
                "leave it out, or augment on the CPU (data.augment_on='cpu')"
            )


def replay_batch(
    transform: Transform, images: Float[Tensor, "batch 3 height width"], drawn: Sequence[Parameters]
) -> Float[Tensor, "batch 3 out_height out_width"]:
    """Return images in grey levels from 0 to 255, each transformed as drawn.

    Within two grey levels of what the CPU makes of bytes, and fractions of a level are kept.

    Raises:
        ConfigError: If the device has no version of the transform.
    """
    match transform:
        case ComposeTransforms():
            steps = [transform.steps(each) for each in drawn]
            for number, step in enumerate(transform.transforms):
                images = replay_batch(step, images, [each[number][1] for each in steps])
            return images
        case RandomApply():
            return _replay_some(transform.transform, images, drawn)
        case RandomFlipRotate():
            return _flip_and_turn(images, drawn)
        case RandomResizedCrop():
            return crop_and_resize(images, [read_box(each) for each in drawn], transform.size)
        case _:
            require_device_version(transform)
            # As the CPU's bytes are, between one step and the next.
            return _replay_colour(transform, images.round(), drawn)


def _replay_colour(transform: Transform, images: Tensor, drawn: Sequence[Parameters]) -> Tensor:
    match transform:
        case HEDColorAugmentation():
            return perturb_stains_batch(images, drawn)
        case ColorJitter():
            return jitter_batch(images, drawn)
        case Grayscale():
            return greyscale_batch(images)
        case GaussianBlur():
            return blur(images, transform, [read_number(each, "sigma") for each in drawn])
        case Solarize():
            return solarize_batch(images, transform.threshold)
        case _:
            raise AssertionError(f"{transform} is among ON_DEVICE and has no batch version")


def _replay_some(transform: Transform, images: Tensor, drawn: Sequence[Parameters]) -> Tensor:
    chosen = [number for number, each in enumerate(drawn) if read_number(each, "applied")]
    if not chosen:
        return images
    at = torch.tensor(chosen, device=images.device)
    inner = [read_nested(drawn[number], "drawn") for number in chosen]
    changed = replay_batch(transform, images[at], inner)
    if len(chosen) == len(drawn):
        return changed
    if changed.shape[1:] != images.shape[1:]:
        raise ConfigError(
            f"RandomApply of {type(transform).__name__} gives some images of a batch another "
            "size; give it p=1, or augment on the CPU (data.augment_on='cpu')"
        )
    return images.index_copy(0, at, changed)


def _flip_and_turn(images: Tensor, drawn: Sequence[Parameters]) -> Tensor:
    names = ("hflip", "vflip", "quarter_turns")
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, each in enumerate(drawn):
        pose = tuple(int(read_number(each, name)) for name in names)
        groups.setdefault(pose, []).append(number)
    results = torch.empty_like(images)
    for (hflip, vflip, quarter_turns), members in groups.items():
        if quarter_turns % 2 and images.shape[-1] != images.shape[-2]:
            raise ConfigError(
                f"patches of {images.shape[-1]} x {images.shape[-2]} px cannot be turned by 90 "
                "degrees in a batch; give RandomFlipRotate p_rot90=0, or square patches"
            )
        at = torch.tensor(members, device=images.device)
        axes = [axis for axis, flips in ((-1, hflip), (-2, vflip)) if flips]
        results[at] = images[at].flip(axes).rot90(quarter_turns, (-2, -1))
    return results

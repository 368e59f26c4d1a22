"""The colour augmentation of DINOv2's three kinds of view.

| | global 1 | global 2 | local |
|---|---|---|---|
| flip left to right | 50 % | 50 % | 50 % |
| colour jitter | 80 % | 80 % | 80 % |
| grey | 20 % | 20 % | 20 % |
| blur | 0 % | 90 % | 50 % |
| solarize | 0 % | 20 % | 0 % |

These are the probabilities that take effect. DINOv2 writes 100, 10 and 50 % for the blur and hands
1 - p on, and its released weights were trained so.

Source: facebookresearch/dinov2 @ b8931f7, dinov2/data/augmentations.py and transforms.py.
"""

from typing import NamedTuple

from eosin.transforms.base import ComposeTransforms, Transform
from eosin.transforms.blur import GaussianBlur
from eosin.transforms.flip import RandomFlipRotate
from eosin.transforms.grayscale import Grayscale
from eosin.transforms.jitter import ColorJitter
from eosin.transforms.random_apply import RandomApply
from eosin.transforms.solarize import Solarize


class DINOv2Augmentation(NamedTuple):
    """What comes after the crop of each kind of view."""

    global_1: ComposeTransforms
    global_2: ComposeTransforms
    local: ComposeTransforms


def dinov2_augmentation(
    *,
    flips: RandomFlipRotate | None = None,
    jitter: ColorJitter | None = None,
    solarize: float = 0.2,
) -> DINOv2Augmentation:
    """Return DINOv2's transforms, for uint8; normalisation comes after.

    Args:
        flips: In place of DINOv2's flip left to right in half of the cases.
        jitter: In place of DINOv2's strengths 0.4, 0.4, 0.2 and 0.1.
        solarize: Probability in the second global view; Virchow2's ablation favours 0.
    """
    shared: list[Transform] = [
        flips or RandomFlipRotate(p_hflip=0.5, p_vflip=0.0, p_rot90=0.0),
        RandomApply(transform=jitter or ColorJitter(), p=0.8),
        RandomApply(transform=Grayscale(), p=0.2),
    ]
    blur = GaussianBlur(kernel_size=9, sigma=(0.1, 2.0))
    often, sometimes = RandomApply(transform=blur, p=0.9), RandomApply(transform=blur, p=0.5)
    turned_over = [RandomApply(transform=Solarize(threshold=128), p=solarize)] if solarize else []
    return DINOv2Augmentation(
        global_1=ComposeTransforms(transforms=shared),
        global_2=ComposeTransforms(transforms=[*shared, often, *turned_over]),
        local=ComposeTransforms(transforms=[*shared, sometimes]),
    )

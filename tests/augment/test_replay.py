"""What the device makes of a batch against what the CPU makes of each patch."""

import numpy as np
import pytest
import torch

from eosin.augment import DeviceViews, replay_batch, require_device_version
from eosin.augment.replay import ON_DEVICE
from eosin.errors import ConfigError
from eosin.recipes import midnight12k
from eosin.transforms import (
    ColorJitter,
    ComposeTransforms,
    GaussianBlur,
    Grayscale,
    HEDColorAugmentation,
    NormalizeTransform,
    RandomApply,
    RandomFlipRotate,
    ResizeTransform,
    Solarize,
)
from eosin.transforms.dinov2 import dinov2_augmentation
from eosin.views import RandomResizedCrop, ViewConfig, draw_views, replay_views
from transforms.transform_contract import noise

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
        ],
    ),
]

TRANSFORMS = [
    RandomFlipRotate(),
    HEDColorAugmentation(sigma=0.2),
    ColorJitter(),
    ColorJitter(hue=1 / 6),
    Grayscale(),
    GaussianBlur(),
    GaussianBlur(kernel_size=3),
    Solarize(),
    RandomApply(transform=Solarize(), p=0.5),
    RandomResizedCrop(size=24, scale=(0.6, 1.0)),
    RandomResizedCrop(size=14, scale=(0.05, 0.32)),
    RandomResizedCrop(size=40, scale=(0.05, 1.0), ratio=(0.3, 3.0)),
    ComposeTransforms(transforms=(RandomFlipRotate(), HEDColorAugmentation(), Solarize())),
]


def patches(num: int = 12, side: int = 40) -> np.ndarray:
    """Draw patches, half of them of pure noise and half smooth, with black and white in each."""
    made = np.stack([noise(side, side, seed=seed) for seed in range(num)])
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    across, down = np.meshgrid(ramp, ramp)
    made[::2] = np.stack([across, down, across[:, ::-1]], -1)
    made[:, 0, :5], made[:, 1, :5] = 0, 255
    return made


def as_images(batch: np.ndarray, device: str) -> torch.Tensor:
    return torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_a_batch_is_within_two_grey_levels_of_its_patches_one_by_one(transform, device):
    batch = patches()
    drawn = [
        transform.draw(np.random.default_rng(seed), width=40, height=40)
        for seed in range(len(batch))
    ]
    one_by_one = [transform.replay(patch, each) for patch, each in zip(batch, drawn, strict=True)]
    together = replay_batch(transform, as_images(batch, device), drawn)
    got = together.round().permute(0, 2, 3, 1).cpu().numpy()
    assert abs(got - np.stack(one_by_one)).max() <= 2


def test_every_transform_with_a_device_version_is_compared():
    compared = {type(transform) for transform in TRANSFORMS}
    assert set(ON_DEVICE) <= compared


def dinov2_views() -> tuple[ViewConfig, ...]:
    of = dinov2_augmentation()
    crop = RandomResizedCrop(size=28, scale=(0.32, 1.0))
    return (
        ViewConfig(name="global_a", crop=crop, transforms=of.global_1),
        ViewConfig(name="global_b", crop=crop, transforms=of.global_2),
        ViewConfig(name="local", crop=RandomResizedCrop(size=14), transforms=of.local, count=3),
        ViewConfig(name="local_whole"),
    )


STREAMS = {
    "midnight, stains once a patch": (
        midnight12k.data(global_px=28, local_px=14, num_local=3).shared_transforms,
        midnight12k.data(global_px=28, local_px=14, num_local=3).views,
    ),
    "midnight, stains once a crop": (
        midnight12k.data(global_px=28, local_px=14, num_local=3, hed="per_crop").shared_transforms,
        midnight12k.data(global_px=28, local_px=14, num_local=3, hed="per_crop").views,
    ),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stream", STREAMS)
def test_the_views_of_a_batch_are_within_two_grey_levels_of_the_cpus(stream, device):
    shared, views = STREAMS[stream]
    differences = view_differences(shared, views, device)
    assert max(each.max() for each in differences) <= 2
    assert np.mean([each.mean() for each in differences]) < 0.3


@pytest.mark.parametrize("device", DEVICES)
def test_views_with_all_of_dinov2s_colours_are_close_to_the_cpus(device):
    differences = np.concatenate(
        [e.ravel() for e in view_differences(None, dinov2_views(), device)]
    )
    # One level apart after the crop becomes up to 1.4 x 1.4 x 1.2 levels after the jitter.
    assert np.quantile(differences, 0.999) <= 2
    assert differences.max() <= 4


def view_differences(shared, views, device):
    batch = patches()
    drawn = [
        draw_views(np.random.default_rng(seed), shared, views, width=40, height=40)
        for seed in range(len(batch))
    ]
    one_by_one = [
        replay_views(p, each, shared, views) for p, each in zip(batch, drawn, strict=True)
    ]
    cut = DeviceViews(shared=shared, views=tuple(views), device=torch.device(device))
    together = cut(torch.from_numpy(batch), drawn)
    assert list(together) == list(one_by_one[0])
    return [
        abs(crops.cpu().numpy().astype(int) - np.stack([single[name] for single in one_by_one]))
        for name, crops in together.items()
    ]


NORMALIZE = NormalizeTransform(mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (NORMALIZE, "NormalizeTransform"),
        (ComposeTransforms(transforms=(Grayscale(), ResizeTransform())), "ResizeTransform"),
        (RandomApply(transform=NORMALIZE, p=0.5), "NormalizeTransform"),
    ],
)
def test_what_the_device_cannot_do_is_refused_by_name(transform, name):
    with pytest.raises(ConfigError, match=f"{name} cannot run on the device"):
        require_device_version(transform)
    view = ViewConfig(name="global", transforms=transform)
    with pytest.raises(ConfigError, match=f"{name} cannot run on the device"):
        DeviceViews(shared=None, views=(view,), device=torch.device("cpu"))


def test_oblong_patches_are_not_turned():
    drawn = [{"hflip": True, "vflip": False, "quarter_turns": 1}]
    with pytest.raises(ConfigError, match="40 x 20 px cannot be turned"):
        replay_batch(RandomFlipRotate(), torch.zeros(1, 3, 20, 40), drawn)


def test_an_image_that_changes_size_now_and_then_is_refused():
    transform = RandomApply(transform=RandomResizedCrop(size=8), p=0.5)
    drawn = [{"applied": False}, {"applied": True, "drawn": {"box": [0, 0, 4, 4]}}]
    with pytest.raises(ConfigError, match="RandomApply of RandomResizedCrop"):
        replay_batch(transform, torch.zeros(2, 3, 20, 20), drawn)

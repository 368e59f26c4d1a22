"""What Kaiko-FM's DINO runs share: DINO's views, and its setting for training.

Source: facebookresearch/dino @ 7c446df, main_dino.py (defaults) and README.md ("boosting": the
teacher's temperature of 0.07, and prototypes of free length for ViT-S alone).
"""

from dataclasses import replace

from eosin.masking import BlockMasking
from eosin.models.config import HeadConfig, ViTConfig
from eosin.recipes.dinov2 import CHECKPOINT_STEPS, dinov2_views, fifth_of
from eosin.train.config import DataConfig, LossConfig, OptimConfig, TeacherConfig, TrainConfig
from eosin.transforms.base import ComposeTransforms
from eosin.transforms.blur import GaussianBlur
from eosin.transforms.dinov2 import DINOv2Augmentation, dinov2_augmentation
from eosin.transforms.random_apply import RandomApply
from eosin.views import RandomResizedCrop, ViewConfig

_EPOCH_STEPS = 1250
"""ImageNet's 1.28 million images in batches of 1,024."""


def dino_augmentation() -> DINOv2Augmentation:
    """Return DINO's transforms; DINOv2's but for the blur, which DINO does not turn round."""
    of = dinov2_augmentation()
    blur = GaussianBlur(kernel_size=15, sigma=(0.1, 2.0))  # PIL's has no end; this one is as wide
    flip_and_colours = of.global_1.transforms
    solarize = of.global_2.transforms[-1]
    rarely, half = RandomApply(transform=blur, p=0.1), RandomApply(transform=blur, p=0.5)
    return DINOv2Augmentation(
        global_1=ComposeTransforms(transforms=[*flip_and_colours, blur]),
        global_2=ComposeTransforms(transforms=[*flip_and_colours, rarely, solarize]),
        local=ComposeTransforms(transforms=[*flip_and_colours, half]),
    )


def dino_views() -> tuple[ViewConfig, ...]:
    """Return two global views of 0.4 to 1 of the area and eight local ones of 0.05 to 0.4."""
    return dinov2_views(
        local_px=96,
        global_crop=RandomResizedCrop(size=224, scale=(0.4, 1.0)),
        local_crop=RandomResizedCrop(size=96, scale=(0.05, 0.4)),
        augmentation=dino_augmentation(),
    )


def dino_run(
    data: DataConfig, model: ViTConfig, *, steps: int, trains_lengths: bool
) -> TrainConfig:
    """Return a run with DINO's loss alone and its settings for a batch of 1,024.

    DINO's learning rate grows with the batch and not with its root; 2e-3 is its 5e-4 for every 256
    patches at this batch.

    Args:
        data: The stream, with DINO's views.
        model: Given LayerScale from 1, which DINO does not have and this is nearest to.
        steps: DINO's 100 epochs of ImageNet are 125,000.
        trains_lengths: Whether prototypes have lengths of their own; DINO advises it for ViT-S.
    """
    return TrainConfig(
        data=data,
        model=replace(model, layerscale_init=1.0, drop_path_rate=0.1),
        dino_head=HeadConfig(
            num_prototypes=65536, bottleneck_dim=256, trains_lengths=trains_lengths
        ),
        ibot_head=None,
        losses=LossConfig(ibot_weight=0.0, kde_weight=0.0, centering="softmax"),
        masking=BlockMasking(probability=0.0),
        optim=OptimConfig(
            base_lr=2e-3,
            final_lr=1e-6,
            warmup_steps=10 * _EPOCH_STEPS,
            weight_decay=0.04,
            final_weight_decay=0.4,
            max_grad_norm=3.0,
            patch_embed_lr_multiplier=1.0,
            freeze_last_layer_steps=_EPOCH_STEPS,
        ),
        teacher=TeacherConfig(
            momentum=0.996,
            final_momentum=1.0,
            temperature=0.07,
            warmup_temperature=0.04,
            warmup_temperature_steps=30 * _EPOCH_STEPS,
        ),
        steps=steps,
        global_batch=1024,
        precision="bfloat16",
        checkpoint_every_steps=CHECKPOINT_STEPS,
        keep_every_steps=fifth_of(steps),
    )

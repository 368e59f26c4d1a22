"""What most recipes share: DINOv2's views, and its two settings for training.

Source: facebookresearch/dinov2 @ b8931f7, dinov2/configs: ssl_default_config.yaml ("short", of
125,000 steps) and train/vitl14.yaml, train/vitg14.yaml ("long", of 625,000 steps).
"""

from eosin.models.config import HeadConfig, ViTConfig
from eosin.train.config import DataConfig, LossConfig, OptimConfig, TeacherConfig, TrainConfig
from eosin.transforms.dinov2 import DINOv2Augmentation, dinov2_augmentation
from eosin.views import RandomResizedCrop, ViewConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

KOLEO = LossConfig(kde_weight=0.0, koleo_weight=0.1)
"""DINOv2's own regulariser; targets by Sinkhorn-Knopp."""

KOLEO_SOFTMAX = LossConfig(kde_weight=0.0, koleo_weight=0.1, centering="softmax")
"""The same with centred softmax targets, as in DINOv2's short setting."""

CHECKPOINT_STEPS = 2500


def fifth_of(steps: int) -> int:
    """Return after how many steps a checkpoint stays: a run has five to compare and average.

    Ours. Not more of them: each holds student, teacher, AdamW's moments and the teacher once more,
    20 bytes a weight, which is 7 to 8 GB for ViT-L and 25 GB for ViT-g.
    """
    return steps // 5 // CHECKPOINT_STEPS * CHECKPOINT_STEPS


def dinov2_views(
    *,
    local_px: int,
    global_crop: RandomResizedCrop | None = None,
    local_crop: RandomResizedCrop | None = None,
    augmentation: DINOv2Augmentation | None = None,
) -> tuple[ViewConfig, ...]:
    """Return two global views and eight local ones, with DINOv2's colours.

    Args:
        local_px: Side of local crops: 96 for patches of 16 px, 98 for those of 14.
        global_crop: In place of DINOv2's crop of 224 px and 0.32 to 1 of the area.
        local_crop: In place of DINOv2's crop of 0.05 to 0.32 of the area.
        augmentation: In place of DINOv2's transforms after the crops.
    """
    wide = global_crop or RandomResizedCrop(size=224, scale=(0.32, 1.0))
    near = local_crop or RandomResizedCrop(size=local_px, scale=(0.05, 0.32))
    of = augmentation or dinov2_augmentation()
    return (
        ViewConfig(name="global_0", crop=wide, transforms=of.global_1),
        ViewConfig(name="global_1", crop=wide, transforms=of.global_2),
        ViewConfig(name="local", crop=near, transforms=of.local, count=8),
    )


def short_run(
    data: DataConfig, model: ViTConfig, *, steps: int, global_batch: int, losses: LossConfig
) -> TrainConfig:
    """Return a run with DINOv2's short setting: one head for both losses, high learning rate."""
    return TrainConfig(
        data=data,
        model=model,
        dino_head=HeadConfig(num_prototypes=65536, bottleneck_dim=256),
        ibot_head=None,
        losses=losses,
        optim=OptimConfig(
            base_lr=4e-3,
            warmup_steps=12_500,
            final_weight_decay=0.4,
            layer_decay=0.9,
            freeze_last_layer_steps=1250,
        ),
        teacher=TeacherConfig(momentum=0.992, warmup_temperature_steps=37_500),
        steps=steps,
        global_batch=global_batch,
        precision="bfloat16",
        checkpoint_every_steps=CHECKPOINT_STEPS,
        keep_every_steps=fifth_of(steps),
    )


def long_run(
    data: DataConfig, model: ViTConfig, *, steps: int, global_batch: int, losses: LossConfig
) -> TrainConfig:
    """Return a run with DINOv2's long setting: a head for each loss, low learning rate."""
    return TrainConfig(
        data=data,
        model=model,
        dino_head=HeadConfig(num_prototypes=131072, bottleneck_dim=384),
        ibot_head=HeadConfig(num_prototypes=131072, bottleneck_dim=256),
        losses=losses,
        optim=OptimConfig(base_lr=2e-4, warmup_steps=100_000, freeze_last_layer_steps=1250),
        teacher=TeacherConfig(momentum=0.994, warmup_temperature_steps=37_500),
        steps=steps,
        global_batch=global_batch,
        precision="bfloat16",
        checkpoint_every_steps=CHECKPOINT_STEPS,
        keep_every_steps=fifth_of(steps),
    )

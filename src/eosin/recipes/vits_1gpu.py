"""ViT-S/14 for one GPU in about a day: Meta's small DINOv2 taken on into Midnight's stream.

Paper    none; Midnight's stream and losses (arXiv:2504.05186) and what MedARC-AI/nanopath @ 33c9da9
         found for ViT-S on one H100
Run      eosin train vits_1gpu SLIDES --weights DINOV2_SMALL_REG --out-dir runs/vits
Cost     12.8 million patches: 24 hours at 150 patches/s, half of what nanopath reports for an H100
         (210 to 315); not run by us
Result   none of ours yet; nanopath's ViT-S, a million patches: mean of 8 tasks 0.659 (DINOv2 0.584)
Differs  from midnight12k in model, batch and duration, and in what keeps learnt weights from being
         spoilt: the heads learn alone first, layers near the input learn slowly, the rate is low.
         DINOV2_SMALL_REG is Meta's dinov2_vits14_reg4_pretrain.pth or
         facebook/dinov2-with-registers-small; every value below has its reason
"""

from eosin.models.config import HeadConfig, vit_config
from eosin.recipes import midnight12k
from eosin.recipes.shrink import shrunk
from eosin.train.config import LossConfig, OptimConfig, TeacherConfig, TrainConfig


def config() -> TrainConfig:
    """Return the run."""
    # 16,384 prototypes and not nanopath's 131,072: a step hides some 20,000 patches, so that
    # Sinkhorn-Knopp has about one for each, and their scores fit beside the model on a small GPU.
    head = HeadConfig(num_prototypes=16_384, bottleneck_dim=256)
    return TrainConfig(
        data=midnight12k.data(),  # Midnight
        # Registers keep the patch tokens clean for segmentation. The table of 37 x 37 stays, so
        # that nothing is lost at the start. 0.1: nanopath and OpenMidnight for ViT-S.
        model=vit_config("small", image_size=518, num_registers=4, drop_path_rate=0.1),
        dino_head=head,
        ibot_head=head,  # one each, as in DINOv2's long setting
        losses=LossConfig(kde_weight=0.05, kde_kappa=5.0),  # Virchow2; nanopath's best weight too
        optim=OptimConfig(
            base_lr=2e-4,  # DINOv2's long setting; at 256 patches it is nanopath's 1e-4
            warmup_steps=1500,  # nanopath: 3 % of the run
            layer_decay=0.7,  # nanopath: first layers hardly move from learnt weights
            patch_embed_lr_multiplier=0.2,  # DINOv2
            freeze_last_layer_steps=500,  # nanopath: 1 % of the run
            # ours: new heads give meaningless gradients at first, and kNN accuracy is reported to
            # fall from 80 to 10 % when they reach learnt weights (facebookresearch/dinov2 #204)
            freeze_backbone_steps=500,
        ),
        # DINOv2's momentum; nanopath warms the temperature up in the first 27 % of the run
        teacher=TeacherConfig(momentum=0.994, warmup_temperature_steps=13_500),
        start="backbone",  # nanopath: from random weights ViT-S needs far longer than a day
        steps=50_000,  # a day at 150 patches/s
        # Four times the 64 below which runs collapse, and small enough for several parts to fit
        # 12 GiB; `--preset gpu12` and others say in how many.
        global_batch=256,
        precision="auto",
        checkpoint_every_steps=1000,  # half an hour
        keep_every_steps=10_000,  # five to compare and to average
    )


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop, from random weights."""
    return shrunk(config())

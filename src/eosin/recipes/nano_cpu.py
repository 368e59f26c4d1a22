"""A nano Midnight for two CPU cores: the same journey in minutes, to try things out.

Paper    Midnight's stream and losses (arXiv:2504.05186) with a model of 2.8 M parameters
Run      eosin train nano_cpu SLIDES --out-dir runs/nano
Cost     see docs/log.md
Result   see docs/log.md
Differs  from midnight12k in every size: ViT 192 wide and 6 deep, crops of 112 and 42 px, 4 local
         crops, batch 32, heads of 1,024 prototypes; and in what lets a short run from random
         weights learn at all: LayerScale from 1, the full rate for the patch embedding, KDE four
         times as heavy, a quicker teacher (docs/log.md has the trials)
"""

from dataclasses import replace

from eosin.models.config import HeadConfig, vit_config
from eosin.recipes import midnight12k
from eosin.recipes.shrink import shrunk
from eosin.train.config import LossConfig, OptimConfig, TeacherConfig, TrainConfig


def config() -> TrainConfig:
    """Return the run."""
    head = HeadConfig(num_prototypes=1024, hidden_dim=512, bottleneck_dim=128)
    return TrainConfig(
        data=replace(
            midnight12k.data(global_px=112, local_px=42, num_local=4),
            num_lanes=4,  # few slides are open at a time
            pool_size=4,
        ),
        # ours: at DINOv2's 1e-5 the blocks do nothing for the first few hundred steps
        model=vit_config("nano", image_size=112, layerscale_init=1.0),
        dino_head=head,
        ibot_head=head,
        losses=LossConfig(kde_weight=0.2),  # ours: the only term that moves in the first steps
        optim=OptimConfig(
            base_lr=4e-3,  # DINOv2's for short schedules
            warmup_steps=60,
            patch_embed_lr_multiplier=1.0,  # ours: 0.2 is for weights that know something
        ),
        # ours: DINOv2 warms up from 0.04 to 0.07 over more steps than this run has
        teacher=TeacherConfig(momentum=0.98, temperature=0.04, warmup_temperature_steps=0),
        steps=600,
        global_batch=32,
        checkpoint_every_steps=100,
    )


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

"""A nano Midnight for two CPU cores: the same journey in minutes, to try things out.

Paper    Midnight's stream and losses (arXiv:2504.05186) with a model of 2.8 M parameters
Run      eosin train nano_cpu SLIDES --out-dir runs/nano
Cost     see docs/log.md
Result   see docs/log.md
Differs  from midnight12k in every size: ViT 192 wide and 6 deep, crops of 112 and 42 px, 4 local
         crops, batch 32, heads of 4,096 prototypes, a short schedule with a high learning rate
"""

from dataclasses import replace

from eosin.models.config import HeadConfig, vit_config
from eosin.recipes import midnight12k
from eosin.train.config import OptimConfig, TeacherConfig, TrainConfig


def config() -> TrainConfig:
    """Return the run."""
    head = HeadConfig(num_prototypes=4096, hidden_dim=512, bottleneck_dim=128)
    return TrainConfig(
        data=replace(
            midnight12k.data(global_px=112, local_px=42, num_local=4),
            num_lanes=4,  # few slides are open at a time
            pool_size=4,
        ),
        model=vit_config("nano", image_size=112, drop_path_rate=0.0),
        dino_head=head,
        ibot_head=head,
        optim=OptimConfig(
            base_lr=4e-3,  # DINOv2's for short schedules
            warmup_steps=50,
            freeze_last_layer_steps=20,
        ),
        teacher=TeacherConfig(momentum=0.99, warmup_temperature_steps=200),
        steps=600,
        global_batch=32,
        checkpoint_every_steps=100,
    )


def smoke() -> TrainConfig:
    """Return the same run for a few steps."""
    run = config()
    head = HeadConfig(num_prototypes=64, hidden_dim=32, bottleneck_dim=16)
    return replace(
        run,
        data=replace(
            midnight12k.data(global_px=56, local_px=28, num_local=2), num_lanes=2, pool_size=2
        ),
        model=vit_config("nano", image_size=56),
        dino_head=head,
        ibot_head=head,
        optim=replace(run.optim, warmup_steps=1, freeze_last_layer_steps=1),
        teacher=replace(run.teacher, warmup_temperature_steps=2),
        steps=4,
        global_batch=4,
        checkpoint_every_steps=2,
    )

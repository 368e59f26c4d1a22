"""What all contenders of bench_step.py train on: one configuration, one batch, one start."""

from dataclasses import replace

import numpy as np
import torch

from eosin.loader import Batch
from eosin.masking import BlockMasking
from eosin.models.config import HeadConfig, vit_config
from eosin.recipes import vits_1gpu
from eosin.train.config import LossConfig, TrainConfig
from eosin.train.rates import Rates

RATES = Rates(
    lr=1e-4,
    backbone_lr=1e-4,
    last_layer_lr=1e-4,
    weight_decay=0.04,
    teacher_momentum=0.994,
    teacher_temperature=0.05,
)
GLOBAL_PX = 224


def step_config(size: str, *, batch: int, num_prototypes: int, precision: str) -> TrainConfig:
    """Return DINOv2 with KDE on 2 crops of 224 and 8 of 98 px, with stochastic depth of 0.1."""
    head = HeadConfig(num_prototypes=num_prototypes)
    run = vits_1gpu.config()
    return replace(
        run,
        # ours: LayerScale from 1, so that no activation is too small to show an error
        model=vit_config(size, image_size=GLOBAL_PX, layerscale_init=1.0, drop_path_rate=0.1),
        data=replace(run.data, num_lanes=1),
        dino_head=head,
        ibot_head=head,
        losses=LossConfig(),
        masking=BlockMasking(),
        start="random",
        global_batch=batch,
        accumulation_steps=1,
        precision=precision,
    )


def random_batch(config: TrainConfig) -> Batch:
    """Return noise with block masks, always the same."""
    rng = np.random.default_rng(0)
    num_global, num_local = 2 * config.global_batch, config.data.num_local * config.global_batch

    def crops(num: int, side_px: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(0, 256, (num, side_px, side_px, 3), dtype=np.uint8))

    side = config.data.global_px // config.model.patch_size
    masks = torch.from_numpy(
        config.masking.draw(0, 0, range(num_global), num_crops=num_global, grid=(side, side))
    )
    return Batch(
        step=0,
        part=0,
        samples=(),
        global_crops=crops(num_global, config.data.global_px),
        local_crops=crops(num_local, config.data.crop_size("local")),
        masks=masks,
        hidden=masks.flatten().nonzero().squeeze(1),
    )

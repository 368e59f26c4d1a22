"""Virchow: DINOv2 ViT-H/14 on patches of 224 px at 0.5 um/px, many from one slide at a time.

Paper    Vorontsov et al. 2024, Nature Medicine, doi:10.1038/s41591-024-03141-0
Run      eosin train virchow SLIDES --out-dir runs/virchow
Cost     not run by us
Result   none of ours yet
Differs  see the table

| step | paper | here | match |
|---|---|---|---|
| tissue mask | hue, saturation and value ranges | HSVTissueDetector, the same ranges | exact |
| tissue threshold | 25 % | tissue_threshold=0.25 | exact |
| resolution | 0.5 um/px | target_mpp=0.5 | exact |
| patch size | 224 px | 224 px | exact |
| patches of a slide in a row | 256 | pool_size=1, patches_per_slide=256 in each lane | exact |
| patch filter | none | none | exact |
| crops and colours | DINOv2's | DINOv2's, effective probabilities | unknown |
| normalisation | not known to us | ImageNet's | unknown |
| model | ViT-H/14 | ViT-H/14 with SwiGLU | exact |
| learning rate | reciprocal square root of the step | DINOv2's cosine | differs |
| steps and batch | not known to us | 625,000 of 1,024 | unknown |
| other settings | DINOv2's | its long setting | unknown |
"""

from dataclasses import replace

from eosin.models.config import ViTConfig, vit_config
from eosin.recipes.dinov2 import IMAGENET_MEAN, IMAGENET_STD, KOLEO, dinov2_views, long_run
from eosin.recipes.shrink import shrunk
from eosin.sampling.random import RandomSampler
from eosin.tissue.hsv import HSVTissueDetector
from eosin.train.config import DataConfig, TrainConfig


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=RandomSampler(
            patch_size=224,  # paper
            target_mpp=0.5,  # paper
            tissue_threshold=0.25,  # paper
        ),
        tissue_detector=HSVTissueDetector(
            hue_range=(90, 180),  # paper
            sat_range=(8, 255),  # paper
            val_range=(103, 255),  # paper
        ),
        patch_filter=None,
        shared_transforms=None,
        views=dinov2_views(local_px=98),  # DINOv2
        mean=IMAGENET_MEAN,  # ours
        std=IMAGENET_STD,  # ours
        pool_size=1,  # paper
        patches_per_slide=256,  # paper
    )


def vit_huge(*, num_registers: int) -> ViTConfig:
    """Return Virchow's and Virchow2's ViT-H/14, of 632 M parameters."""
    large = vit_config("large", num_registers=num_registers, drop_path_rate=0.4)
    return replace(large, embed_dim=1280, depth=32, num_heads=16, ffn="swiglu")


def config() -> TrainConfig:
    """Return the run."""
    model = vit_huge(num_registers=0)  # paper
    return long_run(data(), model, steps=625_000, global_batch=1024, losses=KOLEO)  # ours


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

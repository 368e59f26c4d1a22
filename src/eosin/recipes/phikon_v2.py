"""Phikon-v2: DINOv2 ViT-L/16 on patches of 224 px at 0.5 um/px.

Paper    Filiot et al. 2024, arXiv:2409.09173
Run      eosin train phikon_v2 SLIDES --out-dir runs/phikon_v2
Cost     the paper's: 128 V100, 11,000 GPU hours; not run by us
Result   the authors': eva + HEST mean 0.718; none of ours yet
Differs  see the table

| step | paper | here | match |
|---|---|---|---|
| tissue mask | U-Net at 2.5x, not published | OtsuTissueDetector | approximate |
| tissue threshold | 60 % | tissue_threshold=0.6 | exact |
| resolution | 0.5 um/px | target_mpp=0.5 | exact |
| patch size | 224 px | 224 px | exact |
| places | grid without overlap | random | differs |
| patch filter | none | none | exact |
| crops | 2 of 224 px, 0.32-1; 8 of 96 px, 0.05-0.32 | the same | exact |
| colours | not listed | DINOv2's, effective probabilities | unknown |
| normalisation | ImageNet's | ImageNet's | exact |
| model | ViT-L/16, no registers | ViT-L/16, no registers | exact |
| batch | 4,096 | 4,096 | exact |
| steps | 250,000; released at 100,000 | 250,000 | exact |
| other settings | not known to us | DINOv2's short setting | unknown |
"""

from eosin.models.config import vit_config
from eosin.recipes.dinov2 import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KOLEO_SOFTMAX,
    dinov2_views,
    short_run,
)
from eosin.recipes.shrink import shrunk
from eosin.sampling.random import RandomSampler
from eosin.tissue.otsu import OtsuTissueDetector
from eosin.train.config import DataConfig, TrainConfig


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=RandomSampler(
            patch_size=224,  # paper
            target_mpp=0.5,  # paper
            tissue_threshold=0.6,  # paper
        ),
        tissue_detector=OtsuTissueDetector(),  # ours: the paper's U-Net is not published
        patch_filter=None,
        shared_transforms=None,
        views=dinov2_views(local_px=96),  # paper
        mean=IMAGENET_MEAN,  # paper
        std=IMAGENET_STD,  # paper
    )


def config() -> TrainConfig:
    """Return the run."""
    model = vit_config("large", patch_size=16, drop_path_rate=0.3)  # paper; DINOv2's rate
    return short_run(data(), model, steps=250_000, global_batch=4096, losses=KOLEO_SOFTMAX)  # paper


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

"""UNI: DINOv2 ViT-L/16 on patches of 256 px at 0.5 um/px.

Paper    Chen et al. 2024, Nature Medicine 30, 850, doi:10.1038/s41591-024-02857-3
Run      eosin train uni SLIDES --out-dir runs/uni
Cost     the paper's: 32 A100; not run by us
Result   the authors': eva + HEST mean 0.749; none of ours yet
Differs  see the table

| step | paper | here | match |
|---|---|---|---|
| tissue mask | CLAM, parameters not stated | CLAMTissueDetector, CLAM's defaults | unknown |
| tissue threshold | not stated | tissue_threshold=0.4 | unknown |
| resolution | 0.5 um/px | target_mpp=0.5 | exact |
| patch size | 256 px, and a quarter of them 512 px | 256 px | differs |
| places | grid without overlap | random | differs |
| patch filter | none | none | exact |
| crops | DINOv2's default configuration | 2 of 224 px, 8 of 96 px, its scales | exact |
| colours | DINOv2's default configuration | its transforms, effective probabilities | exact |
| normalisation | ImageNet's | ImageNet's | exact |
| model | ViT-L/16 | ViT-L/16 | exact |
| steps | 125,000 | 125,000 | exact |
| batch | 3,072 | 3,072 | exact |
| other settings | DINOv2's, not listed | its short setting | unknown |
| precision | fp16 | bfloat16 products, float32 weights | differs |
"""

from dataclasses import replace

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
from eosin.tissue.clam import CLAMTissueDetector
from eosin.train.config import DataConfig, TrainConfig


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=RandomSampler(
            patch_size=256,  # paper
            target_mpp=0.5,  # paper
            tissue_threshold=0.4,  # ours: the paper states none
        ),
        tissue_detector=CLAMTissueDetector(),  # paper; CLAM's own defaults, it states none
        patch_filter=None,  # paper
        shared_transforms=None,
        views=dinov2_views(local_px=96),  # paper: DINOv2's defaults
        mean=IMAGENET_MEAN,  # paper
        std=IMAGENET_STD,  # paper
    )


def config() -> TrainConfig:
    """Return the run."""
    model = vit_config("large", patch_size=16, drop_path_rate=0.3)  # paper; DINOv2's rate
    return short_run(data(), model, steps=125_000, global_batch=3072, losses=KOLEO_SOFTMAX)  # paper


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    run = shrunk(config())
    # A phantom is a millimetre wide, less than CLAM keeps of a resection.
    small = CLAMTissueDetector(a_t=1.0, a_h=1.0)
    return replace(run, data=replace(run.data, tissue_detector=small))

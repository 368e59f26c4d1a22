"""Prov-GigaPath's tile encoder: DINOv2 ViT-g/16 on patches of 256 px at 0.5 um/px.

Paper    Xu et al. 2024, Nature 630, 181, doi:10.1038/s41586-024-07441-w
Run      eosin train prov_gigapath SLIDES --out-dir runs/gigapath
Cost     not run by us
Result   the authors': eva + HEST mean 0.752; none of ours yet
Differs  see the table

| step | paper | here | match |
|---|---|---|---|
| tissue mask | Otsu on the mean of the channels, about 1,024 px | Otsu on the luma | approximate |
| tissue threshold | 10 % | tissue_threshold=0.1 | exact |
| resolution | 0.5 um/px, slides resampled | target_mpp=0.5, patches resampled | exact |
| patch size | 256 px | 256 px | exact |
| places | grid without overlap | random | differs |
| patch filter | none | none | exact |
| crops and colours | DINOv2's, not listed | DINOv2's, effective probabilities | unknown |
| normalisation | ImageNet's | ImageNet's | exact |
| model | ViT-g with patches of 16 px (released weights) | ViT-g/16 | exact |
| batch | 384 | 384 | exact |
| steps | not known to us | 625,000 | unknown |
| other settings | DINOv2's, not listed | its long setting | unknown |
| slide encoder | LongNet over the patches | none | differs |

The model is often called ViT-g/14; config.json of prov-gigapath/prov-gigapath says patch_size 16.
"""

from eosin.models.config import vit_config
from eosin.recipes.dinov2 import IMAGENET_MEAN, IMAGENET_STD, KOLEO, dinov2_views, long_run
from eosin.recipes.shrink import shrunk
from eosin.sampling.random import RandomSampler
from eosin.tissue.otsu import OtsuTissueDetector
from eosin.train.config import DataConfig, TrainConfig


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=RandomSampler(
            patch_size=256,  # paper
            target_mpp=0.5,  # paper
            tissue_threshold=0.1,  # paper
        ),
        tissue_detector=OtsuTissueDetector(),  # ours: luma for the mean of the channels
        patch_filter=None,
        shared_transforms=None,
        views=dinov2_views(local_px=96),  # DINOv2
        mean=IMAGENET_MEAN,  # paper
        std=IMAGENET_STD,  # paper
    )


def config() -> TrainConfig:
    """Return the run."""
    model = vit_config("giant2", patch_size=16, drop_path_rate=0.4)  # weights; DINOv2's rate
    return long_run(data(), model, steps=625_000, global_batch=384, losses=KOLEO)  # paper's batch


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

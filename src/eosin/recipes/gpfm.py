"""GPFM: ViT-L/14 on patches of 512 px of each slide's own resolution.

Paper    Ma et al. 2024, arXiv:2407.18449
Run      eosin train gpfm SLIDES --out-dir runs/gpfm
Cost     not run by us
Result   none of ours yet
Differs  see the table

| step | paper | here | match |
|---|---|---|---|
| tissue mask | CLAM with its preset for TCGA | CLAMTissueDetector, the same numbers | exact |
| presets of other data sets | slightly other numbers | TCGA's for all | differs |
| tissue threshold | corners of a patch in the contour | tissue_threshold=0.4 | unknown |
| resolution | level 0, whatever it is | level=0 | exact |
| patch size | 512 px | 512 px | exact |
| places | grid without overlap | random | differs |
| patch filter | none | none | exact |
| crops and colours | not listed | DINOv2's, effective probabilities | unknown |
| normalisation | ImageNet's | ImageNet's | exact |
| model | ViT-L/14 | ViT-L/14 | exact |
| method | DINOv2 and distillation from UNI, CONCH and Phikon | DINOv2 alone | differs |
| steps and batch | not known to us | 625,000 of 1,024 | unknown |
"""

from dataclasses import replace

from eosin.models.config import vit_config
from eosin.recipes.dinov2 import IMAGENET_MEAN, IMAGENET_STD, KOLEO, dinov2_views, long_run
from eosin.recipes.shrink import shrunk
from eosin.sampling.random import RandomSampler
from eosin.tissue.clam import CLAMTissueDetector
from eosin.train.config import DataConfig, TrainConfig


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=RandomSampler(
            patch_size=512,  # paper
            level=0,  # paper
            tissue_threshold=0.4,  # ours: the paper looks at a patch's corners
        ),
        # the authors' preset for TCGA
        tissue_detector=CLAMTissueDetector(
            use_otsu=True, sthresh=8, mthresh=7, close=4, a_t=16.0, a_h=4.0, max_n_holes=8
        ),
        patch_filter=None,
        shared_transforms=None,
        views=dinov2_views(local_px=98),  # DINOv2
        mean=IMAGENET_MEAN,  # paper
        std=IMAGENET_STD,  # paper
    )


def config() -> TrainConfig:
    """Return the run."""
    model = vit_config("large", image_size=518, drop_path_rate=0.4)  # paper; DINOv2's rate
    return long_run(data(), model, steps=625_000, global_batch=1024, losses=KOLEO)  # ours


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    run = shrunk(config())
    # A phantom is a millimetre wide, less than the preset keeps of a resection.
    small = CLAMTissueDetector(use_otsu=True, a_t=1.0, a_h=1.0)
    return replace(run, data=replace(run.data, tissue_detector=small))

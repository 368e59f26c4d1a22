"""Virchow2: DINOv2 ViT-H/14 with KDE and nearly unscaled crops of regions of 392 px.

Paper    Zimmermann et al. 2024, arXiv:2408.00738
Run      eosin train virchow2 SLIDES --out-dir runs/virchow2
Cost     the paper's: 512 V100; not run by us
Result   the authors': eva + HEST mean 0.766; none of ours yet
Differs  see the table

| step | paper | here | match |
|---|---|---|---|
| tissue mask | trained network and Otsu, not published | HSVTissueDetector | approximate |
| tissue threshold | 65 % | tissue_threshold=0.65 | exact |
| magnifications | 40x, 20x, 10x, 5x | 0.25, 0.5, 1, 2 um/px | exact |
| shares of the magnifications | about 20, 40, 20, 20 % | the same | exact |
| patch size | 392 px | 392 px | exact |
| places | grid without overlap | random | differs |
| crop sizes | 224 and 98 px | 224 and 98 px | exact |
| crop shapes | ratio 0.95-1.05 | the same | exact |
| crop scales | extended-context translation, 0.9-1.1 | 0.9-1.1 of the side | approximate |
| flips | both ways | both ways, no turns | exact |
| solarisation | yes (not in Virchow2G) | 20 % of the second view | exact |
| colours | jitter and grey, strengths not stated | DINOv2's | unknown |
| stain augmentation | none | none | exact |
| normalisation | not known to us | ImageNet's | unknown |
| regulariser | KDE, kappa 5, weight 0.05 (second-hand) | the same | exact |
| model | ViT-H/14, 4 registers | ViT-H/14, 4 registers | exact |
| batch | 4,096 | 4,096 | exact |
| patches in all | 2 billion | 488,281 steps | exact |
| other settings | not known to us | DINOv2's long setting | unknown |
"""

from eosin.recipes.dinov2 import IMAGENET_MEAN, IMAGENET_STD, dinov2_views, long_run
from eosin.recipes.shrink import shrunk
from eosin.recipes.virchow import vit_huge
from eosin.sampling.multi_magnification import MultiMagnificationSampler
from eosin.tissue.hsv import HSVTissueDetector
from eosin.train.config import DataConfig, LossConfig, TrainConfig
from eosin.transforms.dinov2 import dinov2_augmentation
from eosin.transforms.flip import RandomFlipRotate
from eosin.views import RandomResizedCrop

_REGION_PX = 392


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=MultiMagnificationSampler(
            target_mpps=(0.25, 0.5, 1.0, 2.0),  # paper
            mpp_weights=(0.2, 0.4, 0.2, 0.2),  # paper
            patch_size=_REGION_PX,  # paper
            tissue_threshold=0.65,  # paper
        ),
        tissue_detector=HSVTissueDetector(),  # ours: the paper's network is not published
        patch_filter=None,
        shared_transforms=None,
        views=dinov2_views(
            local_px=98,
            global_crop=nearly_unscaled(224),
            local_crop=nearly_unscaled(98),
            augmentation=dinov2_augmentation(
                flips=RandomFlipRotate(p_hflip=0.5, p_vflip=0.5, p_rot90=0.0),  # paper
            ),
        ),
        mean=IMAGENET_MEAN,  # ours
        std=IMAGENET_STD,  # ours
    )


def nearly_unscaled(size: int) -> RandomResizedCrop:
    """Return a crop of 0.9 to 1.1 times its own side, so that cells keep their size and shape."""
    share = size / _REGION_PX
    return RandomResizedCrop(
        size=size, scale=((0.9 * share) ** 2, (1.1 * share) ** 2), ratio=(0.95, 1.05)
    )


def config() -> TrainConfig:
    """Return the run."""
    return long_run(
        data(),
        vit_huge(num_registers=4),  # paper
        steps=488_281,  # paper: 2 billion patches
        global_batch=4096,  # paper
        losses=LossConfig(kde_weight=0.05, kde_kappa=5.0),  # paper, second-hand
    )


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

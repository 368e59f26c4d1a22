"""OpenMidnight: an open replication of Midnight, with its density term turned the right way.

Paper    sophont.med/blog/openmidnight; MedARC-AI/OpenMidnight @ f7d5a64, its
         configs/train/vitg14_reg4.yaml (April 2026: 137,500 steps, not the blog's 250,000)
Run      eosin train openmidnight SLIDES --weights DINOV2_GIANT_REG --out-dir runs/om
Cost     none known for these settings; the blog's 250,000 steps: 8 H100 for 83 hours; not run by us
Result   none known for these settings, none of ours yet. The blog's eva + HEST mean of 0.775 (class
         token alone) is another run's: base rate 2e-4 and as good as constant, stopped at 250,000
         steps of ten million, Meta's positions lost by mistake
Differs  in the sign of KDE: theirs adds minus the log density, which pulls tokens together (200
         steps on 48 vectors: mean cosine 0.49 to 0.95; ours 0.49 to 0.02). For the rest see the
         table; DINOV2_GIANT_REG is Meta's dinov2_vitg14_reg4_pretrain.pth

| step | theirs | here | match |
|---|---|---|---|
| tissue mask | none | HSVTissueDetector, 40 % of a patch | differs |
| patch filter | > 60 % of pixels in the HSV ranges | HSVPatchFilter | exact |
| magnifications | every level of the pyramid, listed beforehand | 0.25, 0.5, 1, 2 um/px | differs |
| patch size | 224 px | 224 px | exact |
| crops | 2 of 224 px, 0.32-1; 8 of 98 px, 0.05-0.32 | the same | exact |
| stain augmentation | half of the crops, 0.05 in skimage's HED | the same shifts | approximate |
| colours | jitter 0.2, 0.2, 0.1, 0.05; no solarisation | the same | exact |
| blur | effective 0, 90, 50 % | the same | exact |
| flips | left to right | left to right | exact |
| normalisation | ImageNet's | ImageNet's | exact |
| model | ViT-g/14, 4 registers, stochastic depth 0.4 | the same | exact |
| positions | 16 x 16, resampled once from 37 x 37 | image_size=224 | exact |
| start | Meta's ViT-g/14 with registers, backbone alone | start="backbone" | exact |
| heads | 131,072 prototypes of 384 (DINO) and 256 (iBOT) | the same | exact |
| masks | half of the crops, 10-45 % | the same | exact |
| regulariser | KDE, kappa 5, weight 0.05, wrong sign | the same, right sign | differs |
| KDE's neighbours | one device's 48 and the token itself | all devices', without it | differs |
| steps and batch | 137,500 of 384 | 137,500 of 384 | exact |
| learning rate | base 3e-4, warm-up 12,500 | the same | exact |
| weight decay | 0.04 to 0.2 | the same | exact |
| teacher | momentum 0.994 to 1; 0.04 to 0.07 in 37,500 steps | the same | exact |
| precision | fp16 with a loss scale | bfloat16 products, float32 weights | differs |

skimage's HED has no stain below 0; here negative ones stay, so the colours of pixels with such
stains differ.
"""

import math

from eosin.filters.hsv import HSVPatchFilter
from eosin.masking import BlockMasking
from eosin.models.config import HeadConfig, vit_config
from eosin.recipes.dinov2 import IMAGENET_MEAN, IMAGENET_STD, dinov2_views
from eosin.recipes.shrink import shrunk
from eosin.sampling.multi_magnification import MultiMagnificationSampler
from eosin.tissue.hsv import HSVTissueDetector
from eosin.train.config import DataConfig, LossConfig, OptimConfig, TeacherConfig, TrainConfig
from eosin.transforms.base import ComposeTransforms
from eosin.transforms.dinov2 import DINOv2Augmentation, dinov2_augmentation
from eosin.transforms.hed import HEDColorAugmentation
from eosin.transforms.jitter import ColorJitter
from eosin.transforms.random_apply import RandomApply

# skimage divides optical density by ln(1e6) before it is split into stains.
SKIMAGE_UNIT = math.log(1e6)


def colours() -> DINOv2Augmentation:
    """Return what happens to each kind of crop; stains first."""
    stains = HEDColorAugmentation(sigma=0.0, sigma_bias=0.05 * SKIMAGE_UNIT)
    of = dinov2_augmentation(
        jitter=ColorJitter(brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05), solarize=0.0
    )
    first = RandomApply(transform=stains, p=0.5)
    return DINOv2Augmentation(
        *(ComposeTransforms(transforms=(first, *kind.transforms)) for kind in of)
    )


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=MultiMagnificationSampler(
            target_mpps=(0.25, 0.5, 1.0, 2.0),  # Midnight's; levels mean other sizes on each slide
            patch_size=224,  # theirs
            tissue_threshold=0.4,  # Midnight's
        ),
        tissue_detector=HSVTissueDetector(),  # ours: places are drawn in tissue
        patch_filter=HSVPatchFilter(min_pixel_fraction=0.6),  # theirs
        shared_transforms=None,  # theirs
        views=dinov2_views(local_px=98, augmentation=colours()),  # theirs
        mean=IMAGENET_MEAN,  # theirs
        std=IMAGENET_STD,  # theirs
    )


def config() -> TrainConfig:
    """Return the run."""
    return TrainConfig(
        data=data(),
        model=vit_config("giant2", image_size=224, num_registers=4, drop_path_rate=0.4),  # theirs
        dino_head=HeadConfig(num_prototypes=131072, bottleneck_dim=384),  # theirs
        ibot_head=HeadConfig(num_prototypes=131072, bottleneck_dim=256),  # theirs
        losses=LossConfig(kde_weight=0.05, kde_kappa=5.0),  # theirs but for the sign
        masking=BlockMasking(probability=0.5, ratio_range=(0.1, 0.45)),  # theirs
        optim=OptimConfig(
            base_lr=3e-4,  # theirs
            warmup_steps=12_500,  # theirs
            weight_decay=0.04,  # theirs
            final_weight_decay=0.2,  # theirs
            freeze_last_layer_steps=1250,  # theirs
        ),
        teacher=TeacherConfig(momentum=0.994, warmup_temperature_steps=37_500),  # theirs
        start="backbone",  # theirs
        steps=137_500,  # theirs
        global_batch=384,  # theirs
        precision="bfloat16",  # ours: no loss scale is needed
        checkpoint_every_steps=2500,  # theirs
        keep_every_steps=25_000,  # ours: some to compare and to average
    )


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop, from random weights."""
    return shrunk(config())

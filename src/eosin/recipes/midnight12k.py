"""Midnight-12k: DINOv2 ViT-g/14 with KDE, streamed from the FFPE slides of TCGA.

Paper    Karasikov et al. 2025, arXiv:2504.05186; Aben et al. 2024, arXiv:2404.15217
Run      eosin train midnight12k SLIDES --weights DINOV2_GIANT --out-dir runs/m12k
Cost     the paper's: 32 H100 for 14 days; not run by us
Result   the paper's: eva + HEST mean 0.763; none of ours yet
Differs  see the table; DINOV2_GIANT is facebook/dinov2-giant or Meta's dinov2_vitg14_pretrain.pth

| step | paper | here | match |
|---|---|---|---|
| tissue mask | U-Net on thumbnails, not published | HSVTissueDetector | approximate |
| tissue threshold | 40 % | tissue_threshold=0.4 | exact |
| patch filter | >= 60 % of pixels in the HSV ranges | HSVPatchFilter | exact |
| magnifications | 0.25, 0.5, 1, 2 um/px | the same, resampled beyond 2 % | exact |
| shares of the magnifications | not stated | all alike | unknown |
| patch size | 256 px | 256 px | exact |
| stain augmentation | HED, sigma not stated | sigma 0.05 | unknown |
| where | "for all cropped tiles" | once a patch; once a crop with `hed="per_crop"` | unknown |
| crop sizes | 224 and 98 px | 224 and 98 px | exact |
| crop scales and counts | not stated | DINOv2's: 2 of 0.32-1, 8 of 0.05-0.32 | unknown |
| other colour augmentation | not stated | none; flips and quarter turns | unknown |
| normalisation | mean and deviation 0.5 (card of the weights) | the same | exact |
| start | ImageNet DINOv2 ViT-g, backbone alone | start="backbone" | exact |
| model | ViT-g/14, no registers | ViT-g/14, no registers | exact |
| positions | a table of 37 x 37 (released weights) | image_size=518, kept | exact |
| their interpolation | not stated; Meta's code has an offset of 0.1 | offset 0.0 | unknown |
| heads | not stated | OpenMidnight's: 131,072 prototypes each | unknown |
| steps and batch | 1,000,000 of 768 | 1,000,000 of 768 | exact |
| learning rate | base 3.5e-4 (second-hand) | base 2e-4 | differs |
| other settings | not stated | DINOv2's long setting | unknown |
| regulariser | KDE, kappa and weight not stated | kappa 5, weight 0.05 (Virchow2) | unknown |
| precision | not stated | bfloat16 products, float32 weights | unknown |

That the backbone alone was loaded: an author in kaiko-ai/Midnight issue 4, who also says that the
first layers soon get used to a normalisation other than that of their weights. The learning rate of
the paper: OpenMidnight's README, which saw it collapse.
"""

from typing import Literal

from eosin.filters.hsv import HSVPatchFilter
from eosin.models.config import HeadConfig, vit_config
from eosin.recipes.shrink import shrunk
from eosin.sampling.multi_magnification import MultiMagnificationSampler
from eosin.tissue.hsv import HSVTissueDetector
from eosin.train.config import DataConfig, LossConfig, OptimConfig, TeacherConfig, TrainConfig
from eosin.transforms.base import ComposeTransforms
from eosin.transforms.flip import RandomFlipRotate
from eosin.transforms.hed import HED_LIGHT
from eosin.views import RandomResizedCrop, ViewConfig


def data(
    *,
    global_px: int = 224,
    local_px: int = 98,
    num_local: int = 8,
    hed: Literal["per_patch", "per_crop"] = "per_patch",
) -> DataConfig:
    """Return Midnight's stream, with crops of other sizes for smaller models.

    Args:
        global_px: Side of the two global crops.
        local_px: Side of the local crops.
        num_local: Number of local crops.
        hed: Whether all crops of a patch have its one stain augmentation, or each its own. The
            paper's "for all cropped tiles" can be read both ways.
    """
    # ours: a slide has no up
    flips, stains = RandomFlipRotate(), HED_LIGHT  # ours: "light", the paper states no sigma
    once = hed == "per_patch"
    return DataConfig(
        sampler=MultiMagnificationSampler(
            target_mpps=(0.25, 0.5, 1.0, 2.0),  # paper
            patch_size=256,  # paper
            tissue_threshold=0.4,  # paper
        ),
        tissue_detector=HSVTissueDetector(),  # ours: the paper's U-Net is not published
        patch_filter=HSVPatchFilter(min_pixel_fraction=0.6),  # paper
        shared_transforms=ComposeTransforms(transforms=(flips, stains)) if once else flips,
        views=(
            ViewConfig(
                name="global",
                crop=RandomResizedCrop(size=global_px, scale=(0.32, 1.0)),  # DINOv2's scale
                transforms=None if once else stains,
                count=2,
            ),
            ViewConfig(
                name="local",
                crop=RandomResizedCrop(size=local_px, scale=(0.05, 0.32)),  # DINOv2's scale
                transforms=None if once else stains,
                count=num_local,
            ),
        ),
        mean=(0.5, 0.5, 0.5),  # paper
        std=(0.5, 0.5, 0.5),  # paper
    )


def config() -> TrainConfig:
    """Return the run."""
    return TrainConfig(
        data=data(),
        # paper's size, the table of the weights that it starts from; DINOv2's rate
        model=vit_config("giant2", image_size=518, drop_path_rate=0.4),
        dino_head=HeadConfig(num_prototypes=131072, bottleneck_dim=384),  # OpenMidnight
        ibot_head=HeadConfig(num_prototypes=131072, bottleneck_dim=256),  # OpenMidnight
        losses=LossConfig(kde_weight=0.05, kde_kappa=5.0),  # Virchow2; the paper states neither
        optim=OptimConfig(
            base_lr=2e-4,  # ours: OpenMidnight saw the paper's 3.5e-4 collapse
            warmup_steps=100_000,  # DINOv2's long schedule
            patch_embed_lr_multiplier=0.2,  # DINOv2
            freeze_last_layer_steps=1250,  # DINOv2
        ),
        teacher=TeacherConfig(momentum=0.994, warmup_temperature_steps=37_500),  # DINOv2
        start="backbone",  # paper: ImageNet DINOv2
        steps=1_000_000,  # paper
        global_batch=768,  # paper
        precision="bfloat16",
        checkpoint_every_steps=2500,
        keep_every_steps=100_000,  # ours: some to compare and to average
    )


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

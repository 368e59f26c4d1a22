"""Kaiko-FM: DINOv2 ViT-L/14, streamed from all of TCGA at four magnifications.

Paper    Aben et al. 2024, arXiv:2404.15217
Run      eosin train kaiko_fm SLIDES --weights DINOV2_LARGE_REG --out-dir runs/kaiko
Cost     not run by us
Result   the authors': eva + HEST mean 0.757 (their ViT-B/8); none of ours yet
Differs  see the table; give it FFPE and frozen slides, as the authors did. DINOV2_LARGE_REG is
         Meta's dinov2_vitl14_reg4_pretrain.pth; kaiko_fm_dino_s16, _s8, _b16 and _b8 are the DINO
         runs

| step | paper | here | match |
|---|---|---|---|
| tissue mask | U-Net on thumbnails, not published | HSVTissueDetector | approximate |
| tissue threshold | 40 % | tissue_threshold=0.4 | exact |
| patch filter | none | none | exact |
| magnifications | 0.25, 0.5, 1, 2 um/px | the same, resampled beyond 2 % | exact |
| shares of the magnifications | not stated | all alike | unknown |
| patch size | 256 px | 256 px | exact |
| stain augmentation | none | none | exact |
| crops and colours | DINOv2's, not listed | DINOv2's, effective probabilities | unknown |
| normalisation | mean and deviation 0.5 | the same | exact |
| model | among others ViT-L/14, 4 registers | ViT-L/14, 4 registers | exact |
| start | ImageNet weights, which is not stated | start="backbone": Meta's DINOv2 | unknown |
| steps and batch | not known to us | 100,000 of 1,024 | unknown |
| warm-up of the rate | not known to us | 16,000 steps: DINOv2's 16 % of its run | unknown |
| other settings of training | not known to us | DINOv2's long setting | unknown |
"""

from dataclasses import replace

from eosin.models.config import vit_config
from eosin.recipes.dinov2 import KOLEO, dinov2_views, long_run
from eosin.recipes.shrink import shrunk
from eosin.sampling.multi_magnification import MultiMagnificationSampler
from eosin.tissue.hsv import HSVTissueDetector
from eosin.train.config import DataConfig, TrainConfig


def data() -> DataConfig:
    """Return the stream."""
    return DataConfig(
        sampler=MultiMagnificationSampler(
            target_mpps=(0.25, 0.5, 1.0, 2.0),  # paper
            patch_size=256,  # paper
            tissue_threshold=0.4,  # paper
        ),
        tissue_detector=HSVTissueDetector(),  # ours: the paper's U-Net is not published
        patch_filter=None,  # paper
        shared_transforms=None,  # paper
        views=dinov2_views(local_px=98),  # DINOv2
        mean=(0.5, 0.5, 0.5),  # paper
        std=(0.5, 0.5, 0.5),  # paper
    )


def config() -> TrainConfig:
    """Return the run."""
    model = vit_config("large", image_size=518, num_registers=4, drop_path_rate=0.4)
    # ours: four fifths of DINOv2's short setting, as the weights have learnt before
    run = long_run(data(), model, steps=100_000, global_batch=1024, losses=KOLEO)
    # ours: DINOv2 warms up for 16 % of its 625,000 steps; its 100,000 would be this whole run. The
    # teacher's temperature and the frozen last layer keep DINOv2's numbers of steps, which are the
    # same in its short setting.
    optim = replace(run.optim, warmup_steps=16_000)
    return replace(run, optim=optim, start="backbone")  # paper: learns faster and ends higher


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

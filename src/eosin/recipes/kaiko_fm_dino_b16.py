"""Kaiko-FM with DINO: ViT-B/16, otherwise kaiko_fm_dino_s16.

Paper    Aben et al. 2024, arXiv:2404.15217; DINO: Caron et al. 2021, arXiv:2104.14294
Run      eosin train kaiko_fm_dino_b16 SLIDES --out-dir runs/kaiko_b16
Cost     not run by us
Result   none of ours yet
Differs  see the table of kaiko_fm_dino_s16; here as there but for

| step | paper | here | match |
|---|---|---|---|
| model | ViT-B/16 | ViT-B/16, LayerScale from 1 | approximate |
| head | DINO's, not listed | 65,536 prototypes of 256, their lengths 1 | unknown |
"""

from eosin.recipes.kaiko_fm_dino_s16 import run_of
from eosin.recipes.shrink import shrunk
from eosin.train.config import TrainConfig


def config() -> TrainConfig:
    """Return the run."""
    return run_of("base", patch_size=16, trains_lengths=False)  # paper's model; DINO's advice


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

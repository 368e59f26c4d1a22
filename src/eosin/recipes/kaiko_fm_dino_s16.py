"""Kaiko-FM with DINO: ViT-S/16 on the same stream, without iBOT and without a regulariser.

Paper    Aben et al. 2024, arXiv:2404.15217; DINO: Caron et al. 2021, arXiv:2104.14294
Run      eosin train kaiko_fm_dino_s16 SLIDES --out-dir runs/kaiko_s16
Cost     not run by us
Result   none of ours yet
Differs  see the table; kaiko_fm_dino_s8, _b16 and _b8 differ from this in the model and in the
         lengths of the prototypes alone

| step | paper | here | match |
|---|---|---|---|
| stream up to the crops | Kaiko-FM's | kaiko_fm's | exact |
| crops | DINO's, not listed | DINO's: 2 of 224 px, 0.4-1; 8 of 96 px, 0.05-0.4 | unknown |
| colours | DINO's, not listed | DINO's: blur 100, 10 and 50 %, solarisation | unknown |
| normalisation | mean and deviation 0.5 | the same | exact |
| model | ViT-S/16 | ViT-S/16, LayerScale from 1 | approximate |
| stochastic depth | 0 to 0.1 over the layers (DINO's) | 0.1 in each | differs |
| loss | DINO with centred softmax | the same | exact |
| head | DINO's, not listed | 65,536 prototypes of 256, their lengths free | unknown |
| start | ImageNet weights | random weights | differs |
| steps and batch | not known to us | 100,000 of 1,024 | unknown |
| learning rate | DINO's, not listed | 2e-3, as DINO's for 1,024 | unknown |
| gradient clipping | DINO's, of each tensor | of the backbone and of the head | differs |
| teacher | DINO's, not listed | momentum 0.996 to 1; 0.04 to 0.07 in 37,500 steps | unknown |
| weight decay | DINO's, not listed | 0.04 to 0.4 | unknown |

Released DINO weights have no LayerScale and no mask token, so that none of them fits this model.
"""

from dataclasses import replace

from eosin.models.config import vit_config
from eosin.recipes import kaiko_fm
from eosin.recipes.dino import dino_run, dino_views
from eosin.recipes.shrink import shrunk
from eosin.train.config import DataConfig, TrainConfig


def data() -> DataConfig:
    """Return Kaiko-FM's stream with DINO's views."""
    return replace(kaiko_fm.data(), views=dino_views())


def run_of(size: str, *, patch_size: int, trains_lengths: bool) -> TrainConfig:
    """Return the run of one of the paper's models."""
    model = vit_config(size, patch_size=patch_size)
    # ours: as many steps as kaiko_fm
    return dino_run(data(), model, steps=100_000, trains_lengths=trains_lengths)


def config() -> TrainConfig:
    """Return the run."""
    return run_of("small", patch_size=16, trains_lengths=True)  # paper's model; DINO's advice


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop."""
    return shrunk(config())

"""Midnight-92k: Midnight-12k's run on 80,000 more slides.

Paper    Karasikov et al. 2025, arXiv:2504.05186
Run      eosin train midnight92k SLIDES --weights DINOV2_GIANT --out-dir runs/m92k
Cost     the paper's: 32 H100 for 14 days (second-hand); not run by us
Result   the paper's: eva + HEST mean 0.767; none of ours yet
Differs  from midnight12k in the slides alone, which are the user's to give; what is not in this
         table is in that one's

| step | paper | here | match |
|---|---|---|---|
| slides | TCGA's 12,000 FFPE and NKI-80k, which is not public | SLIDES, as given | differs |
| share of the two collections | not stated | every slide as often as any other | unknown |
| stream, model, losses | those of Midnight-12k | the same | exact |
| steps and batch | 1,000,000 of 768 (second-hand) | 1,000,000 of 768 | exact |
| start | ImageNet DINOv2 ViT-g, backbone alone | start="backbone" | exact |
| other settings | not stated, nor whether they differ | Midnight-12k's | unknown |

NKI-80k: 80,000 slides of 10,141 patients and 31 organs (the card of the released weights). With an
index whose column says the collection, `SlideWeights(by=("collection", "slide"))` draws both alike.
"""

from eosin.recipes import midnight12k
from eosin.recipes.shrink import shrunk
from eosin.train.config import TrainConfig


def config() -> TrainConfig:
    """Return the run."""
    return midnight12k.config()  # ours: the paper names no other difference than the slides


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop, from random weights."""
    return shrunk(config())

"""Midnight-92k/392: high-resolution post-training of a Midnight run.

Paper    Karasikov et al. 2025, arXiv:2504.05186; what it leaves out is from "High-Resolution
         Post-Training for OpenMidnight" (May 2026), which quotes it
Run      eosin train midnight_highres SLIDES --weights runs/m92k --out-dir runs/m392
Cost     the paper's: 48 H100, time not stated; OpenMidnight's 30,000 steps of 384: 8 H100 for a day
Result   the paper's: eva + HEST mean 0.767 before, 0.778 after; none of ours yet
Differs  see the table

| step | paper | here | match |
|---|---|---|---|
| crop sizes | 392 and 168 px | 392 and 168 px | exact |
| patch size | 512 px | 512 px | exact |
| magnifications | 0.125, 0.25, 0.5, 1 um/px | the same, resampled beyond 2 % | exact |
| 0.125 um/px on slides of 0.25 | not stated; OpenMidnight enlarges | left out | unknown |
| start | a Midnight run: backbone and both heads | start="run" | exact |
| steps and batch | 120,000 of 1,152 | 120,000 of 1,152 | exact |
| accumulated parts | 4 | accumulation_steps=4 | exact |
| learning rate | base 1e-4 | base 1e-4 | exact |
| teacher | momentum 0.9995, temperature 0.07 at once | the same, constant | exact |
| weight decay | 0.2 at once | 0.2, constant | exact |
| last layer | not frozen | freeze_last_layer_steps=0 | exact |
| layer decay | 0.9 | layer_decay=0.9 | exact |
| warm-up | not stated | 6,250 steps (OpenMidnight) | unknown |
| other settings | those of the run that it goes on from | Midnight-12k's | unknown |

Schedules begin where the first run's end; begun anew they spoil it. A slide of 0.25 um/px has no
level for 0.125 within 10 %, so the other three share its turns; to enlarge twofold as OpenMidnight
does, set the sampler's `rule` to `MagnificationRule(max_upsample=2.1)`. Much of the gain in
segmentation comes from looking at 392 px at all, without training: 65 to 75 % in OpenMidnight's.
"""

from dataclasses import replace

from eosin.recipes import midnight12k
from eosin.recipes.shrink import shrunk
from eosin.sampling.multi_magnification import MultiMagnificationSampler
from eosin.train.config import DataConfig, OptimConfig, TeacherConfig, TrainConfig


def data() -> DataConfig:
    """Return the stream: the tissue of Midnight's patches at twice the resolution."""
    return replace(
        midnight12k.data(global_px=392, local_px=168),  # paper
        sampler=MultiMagnificationSampler(
            target_mpps=(0.125, 0.25, 0.5, 1.0),  # paper
            patch_size=512,  # paper
            tissue_threshold=0.4,  # paper, of the first run
        ),
    )


def config() -> TrainConfig:
    """Return the run."""
    return replace(
        midnight12k.config(),
        data=data(),
        optim=OptimConfig(
            base_lr=1e-4,  # paper
            warmup_steps=6250,  # OpenMidnight: five of its epochs
            weight_decay=0.2,  # paper: where the first run ends
            final_weight_decay=0.2,
            layer_decay=0.9,  # paper
            patch_embed_lr_multiplier=0.2,  # DINOv2
            freeze_last_layer_steps=0,  # paper
        ),
        teacher=TeacherConfig(
            momentum=0.9995,  # paper
            final_momentum=0.9995,  # ours: "at its terminal value", so it stays there
            temperature=0.07,  # paper
            warmup_temperature_steps=0,  # paper
        ),
        start="run",  # paper
        steps=120_000,  # paper
        global_batch=1152,  # paper: 48 devices, 6 each, 4 parts
        accumulation_steps=4,  # paper
        keep_every_steps=20_000,  # ours: some to compare and to average
    )


def smoke() -> TrainConfig:
    """Return the same run, over in seconds on a laptop, from random weights."""
    return shrunk(config())

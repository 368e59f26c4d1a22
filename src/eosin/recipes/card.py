"""The model card that goes with exported weights: how to use them, and how they were made."""

import json

from eosin.plain import to_plain
from eosin.train.config import TrainConfig

_CARD = """---
library_name: transformers
tags: [pathology, histology, self-supervised, DINOv2]
---

# {name}

A vision transformer for histology patches, trained with eosin for {step:,} steps of
{batch} patches.

Images are {size} x {size} px RGB, scaled to [0, 1] and normalised with mean {mean} and standard
deviation {std}. The weights load without eosin:

```python
import torch
from transformers import AutoModel

model = AutoModel.from_pretrained("path/to/this/folder")
tokens = model(images).last_hidden_state  # (batch, 1 + {registers} + patches, {dim})
cls, patches = tokens[:, 0], tokens[:, {first_patch}:]
embedding = torch.cat([cls, patches.mean(1)], dim=-1)  # (batch, {dims})
```

{registers_note}
## Made by

```json
{config}
```
"""


def model_card(name: str, config: TrainConfig, step: int) -> str:
    """Return the card of a run's teacher, in Markdown."""
    registers = config.model.num_registers
    note = (
        f"Tokens 1 to {registers} are registers: leave them out of the mean, as above.\n"
        if registers
        else ""
    )
    return _CARD.format(
        name=name,
        step=step,
        batch=config.global_batch,
        size=config.data.global_px,
        mean=config.data.mean,
        std=config.data.std,
        registers=registers,
        dim=config.model.embed_dim,
        first_patch=1 + registers,
        dims=2 * config.model.embed_dim,
        registers_note=note,
        config=json.dumps(to_plain(config), indent=1),
    )

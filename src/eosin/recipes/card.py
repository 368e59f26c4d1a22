"""The model card that goes with exported weights: how to use them, and how they were made."""

import inspect
import json

from eosin.plain import differences, to_plain
from eosin.recipes import RECIPES, recipe_config
from eosin.train.config import TrainConfig

_CARD = """---
library_name: transformers
pipeline_tag: image-feature-extraction
tags: [pathology, histology, self-supervised, DINOv2]
---

# {name}

A vision transformer for histology patches, trained with eosin for {step:,} steps of
{batch} patches.

## Use

Images are {size} x {size} px RGB, scaled to [0, 1] and normalised with mean {mean} and standard
deviation {std}; the processor does both, and resizes bilinearly. The embedding of an image is its
class token, the mean of its patch tokens, or both one after the other, as here. Of an oblong image
the middle is taken. Image files are used as they are stored: orientation tags (EXIF) and colour
profiles are not applied, transparent pixels are over white, grey images have three equal channels,
and more than 8 bits a channel must be converted first, by whoever knows which value is white. The
weights load without eosin:

```python
import torch
from transformers import AutoImageProcessor, AutoModel

folder = "path/to/this/folder"
processor = AutoImageProcessor.from_pretrained(folder)
model = AutoModel.from_pretrained(folder).eval()
pixels = processor(images, return_tensors="pt").pixel_values
with torch.no_grad():
    tokens = model(pixels).last_hidden_state  # (batch, 1 + {registers} + patches, {dim})
cls, patches = tokens[:, 0], tokens[:, {first_patch}:]{registers_comment}
embedding = torch.cat([cls, patches.mean(dim=1)], dim=-1)  # (batch, {dims})
```

With eosin, registers stay out by themselves:

```python
from pathlib import Path

from eosin.embed.encoder import load_encoder
from eosin.models.pooling import patch_map, pooled

# Arrays (batch, height, width, 3) of bytes; eosin.backends.image_files.read_pixels reads files.
tokens = load_encoder(Path("path/to/this/folder"))(images)
embedding, places = pooled(tokens, "cls+mean"), patch_map(tokens)
```

{note}## Made by

{label}```json
{config}
```
"""


def model_card(
    name: str, config: TrainConfig, step: int, *, recipe: str | None = None, note: str = ""
) -> str:
    """Return the card of a run's teacher, in Markdown.

    Args:
        name: Of the run.
        config: Of the run.
        step: How many were done.
        recipe: What the run was started from; its label is shown, with all that was changed. None
            shows the label of the only recipe that the run follows to the letter, if there is one.
        note: What was changed for the export, such as resampled positions.

    Raises:
        ConfigError: If there is no such recipe.
    """
    registers = config.model.num_registers
    comment = f"  # 1 to {registers} are registers" if registers else ""
    return _CARD.format(
        name=name,
        step=step,
        batch=config.global_batch,
        size=config.data.global_px,
        mean=config.data.mean,
        std=config.data.std,
        registers=registers,
        registers_comment=comment,
        dim=config.model.embed_dim,
        first_patch=1 + registers,
        dims=2 * config.model.embed_dim,
        note=f"{note}\n\n" if note else "",
        label=_label(recipe or _followed(config), config),
        config=json.dumps(to_plain(config), indent=1),
    )


def _followed(config: TrainConfig) -> str | None:
    """Return the recipe of which nothing was changed, None where several are alike."""
    plain = to_plain(config)
    followed = [name for name in RECIPES if to_plain(recipe_config(name)) == plain]
    return followed[0] if len(followed) == 1 else None


def _label(recipe: str | None, config: TrainConfig) -> str:
    if recipe is None:
        return ""
    changed = list(differences(to_plain(recipe_config(recipe)), to_plain(config)))
    lines = [f"The recipe `{recipe}`:", "", "```text", inspect.getdoc(RECIPES[recipe]) or "", "```"]
    if changed:
        lines += ["", "with these settings changed:", "", *(f"- `{line}`" for line in changed)]
    return "\n".join([*lines, "", ""])

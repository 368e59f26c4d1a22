"""One vector for an image, or a map over it, from a vision transformer's tokens.

Registers are where the model puts what belongs to no place; they are in none of these.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from eosin.models.vit import Tokens


def pooled(tokens: Tokens, pooling: str = "cls+mean") -> Float[Tensor, "batch features"]:
    """Return one float32 vector for each image.

    Args:
        tokens: Of any precision; they are summed in float32.
        pooling: `cls`, `mean` (of the patch tokens) or `cls+mean`, which is twice as long.

    Raises:
        ValueError: If the pooling is unknown.
    """
    cls, mean = tokens.cls.float(), tokens.patches.float().mean(dim=1)
    if pooling == "cls":
        return cls
    if pooling == "mean":
        return mean
    if pooling == "cls+mean":
        return torch.cat([cls, mean], dim=-1)
    raise ValueError(f"pooling={pooling!r} must be 'cls', 'mean' or 'cls+mean'")


def patch_map(tokens: Tokens, num_rows: int | None = None) -> Float[Tensor, "batch dim rows cols"]:
    """Return the patch tokens where they stand in the image.

    Args:
        tokens: Patches are row by row from the top left.
        num_rows: Rows of patches, which is the image's height over the patch size; None is for
            square images.

    Raises:
        ValueError: If the patches do not fill the rows.
    """
    num_patches = tokens.patches.shape[1]
    rows = round(num_patches**0.5) if num_rows is None else num_rows
    if rows < 1 or num_patches % rows or (num_rows is None and rows * rows != num_patches):
        raise ValueError(
            f"{num_patches} patches do not fill {rows} rows; give num_rows, the height of the "
            "images over the patch size"
        )
    batch, _, dim = tokens.patches.shape
    return tokens.patches.transpose(1, 2).reshape(batch, dim, rows, num_patches // rows)

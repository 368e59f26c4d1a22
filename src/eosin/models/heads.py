"""The projection heads that turn tokens into scores of prototypes, for DINO and for iBOT alike."""

from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from eosin.models.config import HeadConfig

_LEGACY_NAMES = {
    "last_layer.weight_g": "last_layer.parametrizations.weight.original0",
    "last_layer.weight_v": "last_layer.parametrizations.weight.original1",
}


@final
class DINOHead(nn.Module):
    """Three layers, the unit sphere, and the cosine to each prototype times its length.

    The lengths start at 1; whether they stay there is the configuration's to say.

    Source: facebookresearch/dinov2 b8931f7, layers/dino_head.py (names and numbers).
    """

    def __init__(self, embed_dim: int, config: HeadConfig) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.bottleneck_dim),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = weight_norm(
            nn.Linear(config.bottleneck_dim, config.num_prototypes, bias=False)
        )
        lengths = self.last_layer.get_parameter("parametrizations.weight.original0")
        nn.init.ones_(lengths)
        lengths.requires_grad_(config.trains_lengths)

    def forward(self, tokens: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch prototypes"]:
        """Return the score of every prototype, before any temperature."""
        x = self.mlp(tokens)
        # Half precision has no 1e-12, and a zero vector would become NaN.
        eps = 1e-6 if x.dtype == torch.float16 else 1e-12
        return self.last_layer(functional.normalize(x, dim=-1, eps=eps))  # type: ignore[no-any-return]


def rename_legacy_head(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a head's state dict under today's names; Meta's checkpoints have old torch's."""
    return {_LEGACY_NAMES.get(name, name): tensor for name, tensor in state_dict.items()}

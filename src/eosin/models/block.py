"""One block of a vision transformer: attention, feed-forward layer, and how they are added.

Names and numbers are those of facebookresearch/dinov2 b8931f7, layers/.
"""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional

from eosin.models.config import ViTConfig

LAYER_NORM_EPS = 1e-6
MAX_TOKENS_WITH_SCORES = 512
"""Above, the scores of all pairs of tokens take more memory than is worth the time they save."""


@final
class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Return what each token takes from all tokens."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # b n 3 h d
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # 3 times b h n d
        mixed = attend(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


@final
class Mlp(nn.Module):
    """Feed-forward layer with GELU."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.ffn_hidden_dim)
        self.fc2 = nn.Linear(config.ffn_hidden_dim, config.embed_dim)

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Return each token's own update."""
        return self.fc2(functional.gelu(self.fc1(x)))  # type: ignore[no-any-return]


@final
class SwiGlu(nn.Module):
    """Feed-forward layer with a gate; the first half of `w12` is the gate."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.w12 = nn.Linear(config.embed_dim, 2 * config.ffn_hidden_dim)
        self.w3 = nn.Linear(config.ffn_hidden_dim, config.embed_dim)

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Return each token's own update."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(functional.silu(gate) * value)  # type: ignore[no-any-return]


@final
class LayerScale(nn.Module):
    """One learned factor a channel, small at first, so that a deep network starts near identity."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((config.embed_dim,), config.layerscale_init))

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Return the scaled channels."""
        return x * self.gamma


@final
class Block(nn.Module):
    """Attention and feed-forward layer, each added to its input."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.drop_path_rate = config.drop_path_rate
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.attn = Attention(config)
        self.ls1 = LayerScale(config)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(config) if config.ffn == "mlp" else SwiGlu(config)
        self.ls2 = LayerScale(config)

    def forward(
        self,
        x: Float[Tensor, "batch tokens dim"],
        read: Integer[Tensor, " read"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"] | Float[Tensor, "read dim"]:
        """Return the tokens with both updates added, or only some of them while training.

        Args:
            x: Of all images.
            read: Which tokens to return, counted through all images; None returns all of them.
        """
        rate = self.drop_path_rate if self.training else 0.0
        x = add_residual(x, self._attention, drop_rate=rate)
        if read is None:
            return add_residual(x, self._feed_forward, drop_rate=rate)
        return add_residual_at(read, x, self._feed_forward, drop_rate=rate)

    def _attention(self, x: Tensor) -> Tensor:
        return self.ls1(self.attn(self.norm1(x)))  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.ls2(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


def attend(
    query: Float[Tensor, "batch heads tokens channels"],
    key: Float[Tensor, "batch heads tokens channels"],
    value: Float[Tensor, "batch heads tokens channels"],
) -> Float[Tensor, "batch heads tokens channels"]:
    """Return the values mixed by how well the keys fit the queries, each head on its own."""
    is_slow = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if not is_slow or query.shape[2] > MAX_TOKENS_WITH_SCORES:
        return functional.scaled_dot_product_attention(query, key, value)
    # On a CPU torch's fused kernel multiplies bfloat16 more slowly than float32: forward and back
    # together take 2 to 10 times as long as these products.
    scores = (query * query.shape[3] ** -0.5) @ key.mT
    mixed: Tensor = scores.softmax(dim=-1) @ value
    return mixed


def add_residual(
    x: Float[Tensor, "batch tokens dim"],
    branch: Callable[[Tensor], Tensor],
    *,
    drop_rate: float,
) -> Float[Tensor, "batch tokens dim"]:
    """Return `x + branch(x)`, where the branch is computed for a random part of the images only.

    A fixed number of images is kept, rounded down and at least one, and scaled up so that the mean
    stays. DINOv2 trains so at every rate, since its crops go through the network as nested tensors;
    drops of each image on its own, which `Block.forward` has up to a rate of 0.1, never train.

    Source: facebookresearch/dinov2 b8931f7, layers/block.py, NestedTensorBlock.
    """
    if drop_rate == 0:
        return x + branch(x)
    kept, scale = _kept_images(x, drop_rate)
    # Not x[kept], whose backward pass is that of any index: sorted on a GPU, slow on a CPU.
    residual = branch(x.index_select(0, kept)).to(x.dtype)
    return x.index_add(0, kept, residual, alpha=scale)


def add_residual_at(
    read: Integer[Tensor, " read"],
    x: Float[Tensor, "batch tokens dim"],
    branch: Callable[[Tensor], Tensor],
    *,
    drop_rate: float,
) -> Float[Tensor, "read dim"]:
    """Return what `add_residual` gives of some tokens, without computing the branch of the others.

    Args:
        read: Which tokens, counted through all images.
        x: Of all images.
        branch: Computes each token by itself.
        drop_rate: As in `add_residual`, with the same images kept.
    """
    tokens = x.flatten(0, 1).index_select(0, read)
    residual = branch(tokens)
    if drop_rate == 0:
        return tokens + residual
    kept, scale = _kept_images(x, drop_rate)
    # Tokens of images that are left out are computed too: how many they are, only the device knows.
    factors = x.new_zeros(len(x)).index_fill(0, kept, scale).index_select(0, read // x.shape[1])
    return tokens + residual.to(x.dtype) * factors[:, None]


def _kept_images(x: Float[Tensor, "batch tokens dim"], drop_rate: float) -> tuple[Tensor, float]:
    """Draw the images whose branch is computed, and return what makes up for the others."""
    num_kept = max(int(len(x) * (1 - drop_rate)), 1)
    return torch.randperm(len(x), device=x.device)[:num_kept], len(x) / num_kept

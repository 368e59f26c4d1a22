"""A vision transformer whose parameters are named and whose numbers come out as in Meta's DINOv2.

    images ─patch_embed→ patches ─mask, + positions, registers→ tokens ─blocks→ ─norm→ Tokens

One call takes crops of one size; crops of another size are another call. Randomness (initial
weights, stochastic depth) comes from torch's global generator, which whoever trains seeds.
"""

from typing import NamedTuple, final, overload

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eosin.models.block import LAYER_NORM_EPS, Block
from eosin.models.config import ViTConfig
from eosin.models.positions import interpolated_positions


# A named tuple and not a dataclass: FSDP2 and torch.compile look for tensors inside the outputs,
# and they look into tuples only.
class Tokens(NamedTuple):
    """What a vision transformer says of a batch of images, after its last normalization."""

    cls: Float[Tensor, "batch dim"]
    registers: Float[Tensor, "batch registers dim"]
    patches: Float[Tensor, "batch patches dim"]
    """Row by row, from the top left."""


class ReadTokens(NamedTuple):
    """The tokens that a loss reads: the class tokens, and patches of any of the images."""

    cls: Float[Tensor, "batch dim"]
    patches: Float[Tensor, "read dim"]


@final
class PatchEmbed(nn.Module):
    """One linear map for every patch of pixels."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.proj = nn.Conv2d(3, config.embed_dim, kernel_size=size, stride=size)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Return one token a patch, row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


@final
class VisionTransformer(nn.Module):
    """The backbone: images in, tokens out.

    Source: facebookresearch/dinov2 b8931f7, models/vision_transformer.py (names and numbers).
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.recomputes_blocks = False
        """Whether blocks keep only their inputs for the backward pass, and are computed again."""
        dim = config.embed_dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid_size**2, dim))
        self.register_tokens = (
            nn.Parameter(torch.zeros(1, config.num_registers, dim))
            if config.num_registers
            else None
        )
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self._initialize()

    @overload
    def forward(self, images: Tensor, masks: Tensor | None = None, read: None = None) -> Tokens: ...

    @overload
    def forward(self, images: Tensor, masks: Tensor | None, read: Tensor) -> ReadTokens: ...

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        masks: Bool[Tensor, "batch patches"] | None = None,
        read: Integer[Tensor, " read"] | None = None,
    ) -> Tokens | ReadTokens:
        """Return the tokens of every image, or of some of their patches alone.

        Args:
            images: Normalized; both sides multiples of the patch size, of any ratio.
            masks: True where the mask token stands in for a patch, row by row.
            read: The patches to return, counted through all images. The last block's feed-forward
                layer then leaves out the others, which nobody will look at.

        Raises:
            ValueError: If a side is no multiple of the patch size, or the masks do not fit.
        """
        x = self._embed(images, masks)
        *others, last = self.blocks
        for block in others:
            x = self._through(block, x)
        if read is None:
            x = self.norm(self._through(last, x))
            first_patch = 1 + self.config.num_registers
            return Tokens(cls=x[:, 0], registers=x[:, 1:first_patch], patches=x[:, first_patch:])
        x = self.norm(self._through(last, x, self._positions_of(read, *x.shape[:2])))
        return ReadTokens(cls=x[: len(images)], patches=x[len(images) :])

    def _through(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        if self.recomputes_blocks and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)  # type: ignore[no-any-return]
        return block(*inputs)  # type: ignore[no-any-return]

    def _positions_of(self, read: Tensor, batch: int, num_tokens: int) -> Tensor:
        """Return where, among the tokens of all images, the class tokens and some patches are."""
        first_patch = 1 + self.config.num_registers
        num_patches = num_tokens - first_patch
        image, patch = read // num_patches, read % num_patches
        cls = torch.arange(0, batch * num_tokens, num_tokens, device=read.device)
        return torch.cat([cls, image * num_tokens + first_patch + patch])

    def _embed(self, images: Tensor, masks: Tensor | None) -> Tensor:
        rows, columns = self._grid(images)
        patches = self.patch_embed(images)
        if masks is not None:
            if masks.shape != patches.shape[:2]:
                raise ValueError(
                    f"masks have the shape {tuple(masks.shape)}, but {len(images)} images of "
                    f"{rows} x {columns} patches need {tuple(patches.shape[:2])}"
                )
            patches = torch.where(masks[..., None], self.mask_token.to(patches.dtype), patches)
        cls = self.cls_token.expand(len(images), -1, -1)
        positions = interpolated_positions(self.pos_embed, self.config, rows, columns)
        x = torch.cat([cls, patches], dim=1) + positions
        if self.register_tokens is None:
            return x
        # Registers stand nowhere in the image, so they come after the positions were added.
        registers = self.register_tokens.expand(len(images), -1, -1)
        return torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)

    def _grid(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[-2:]
        size = self.config.patch_size
        if height % size or width % size:
            raise ValueError(
                f"images are {height} x {width} px, which patches of {size} px do not fill; "
                f"resize or crop to multiples of {size}"
            )
        return height // size, width // size

    def _initialize(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        if self.register_tokens is not None:
            nn.init.normal_(self.register_tokens, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

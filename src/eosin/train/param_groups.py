"""Which learning rate and weight decay each parameter gets, as multiples of the schedule's."""

import re
from collections.abc import Iterable, Mapping
from typing import TypedDict

from torch import nn
from torch.optim import Optimizer

from eosin.train.rates import Rates

_FIRST_LAYER = ("cls_token", "pos_embed", "register_tokens", "mask_token", "patch_embed")


class ParamGroup(TypedDict):
    """A group as `torch.optim.AdamW` takes it; `set_rates` reads the last four."""

    params: list[nn.Parameter]
    lr_multiplier: float
    weight_decay_multiplier: float
    is_backbone: bool
    is_last_layer: bool


def backbone_groups(
    backbone: nn.Module,
    *,
    depth: int,
    layer_decay: float = 1.0,
    patch_embed_lr_multiplier: float = 1.0,
) -> list[ParamGroup]:
    """Return the groups of a vision transformer, with smaller learning rates towards the input.

    The final norm learns at the full rate, each block below it at `layer_decay` times that of the
    one above, and everything before the first block once more so. Biases, norms and LayerScales do
    not decay; tokens and positions do.

    Args:
        backbone: Parameters are told apart by Meta's names; frozen ones are left out.
        depth: The number of blocks.
        layer_decay: 1.0 gives all layers the same rate.
        patch_embed_lr_multiplier: For the patch embedding, on top of the decay.

    Source: facebookresearch/dinov2 b8931f7, utils/param_groups.py.
    """

    def lr_multiplier(name: str) -> float:
        multiplier = layer_decay ** (depth + 1 - _layer(name, depth))
        return multiplier * (patch_embed_lr_multiplier if "patch_embed" in name else 1.0)

    return _fuse(
        (
            (parameter, lr_multiplier(name), _weight_decay_multiplier(name), False)
            for name, parameter in backbone.named_parameters()
            if parameter.requires_grad
        ),
        is_backbone=True,
    )


def head_groups(head: nn.Module) -> list[ParamGroup]:
    """Return the groups of a projection head; its last layer can be held still by `set_rates`.

    Args:
        head: Frozen parameters are left out, such as the lengths of prototypes.

    Source: facebookresearch/dinov2 b8931f7, utils/param_groups.py.
    """
    return _fuse(
        (
            (parameter, 1.0, _weight_decay_multiplier(name), "last_layer" in name)
            for name, parameter in head.named_parameters()
            if parameter.requires_grad
        ),
        is_backbone=False,
    )


def set_rates(optimizer: Optimizer, rates: Rates) -> None:
    """Give every group of the optimizer its learning rate and weight decay for a step, in place.

    At a rate of 0 AdamW moves nothing, for its weight decay is multiplied by the rate too.
    """
    for group in optimizer.param_groups:
        group["lr"] = _base_lr(group, rates) * group["lr_multiplier"]
        group["weight_decay"] = rates.weight_decay * group["weight_decay_multiplier"]


def _base_lr(group: Mapping[str, object], rates: Rates) -> float:
    if group["is_backbone"]:
        return rates.backbone_lr
    return rates.last_layer_lr if group["is_last_layer"] else rates.lr


def _layer(name: str, depth: int) -> int:
    """Return 0 for what comes before the blocks, i + 1 for block i, depth + 1 for the rest."""
    if any(part in name for part in _FIRST_LAYER):
        return 0
    block = re.search(r"\bblocks\.(\d+)\.", name)
    return int(block[1]) + 1 if block else depth + 1


def _weight_decay_multiplier(name: str) -> float:
    return 0.0 if name.endswith(".bias") or "norm" in name or "gamma" in name else 1.0


def _fuse(
    parameters: Iterable[tuple[nn.Parameter, float, float, bool]], *, is_backbone: bool
) -> list[ParamGroup]:
    """Put parameters with the same multipliers together, in the order in which they are met."""
    groups: dict[tuple[float, float, bool], ParamGroup] = {}
    for parameter, lr_multiplier, weight_decay_multiplier, is_last_layer in parameters:
        key = (lr_multiplier, weight_decay_multiplier, is_last_layer)
        group = groups.setdefault(
            key,
            ParamGroup(
                params=[],
                lr_multiplier=lr_multiplier,
                weight_decay_multiplier=weight_decay_multiplier,
                is_backbone=is_backbone,
                is_last_layer=is_last_layer,
            ),
        )
        group["params"].append(parameter)
    return list(groups.values())

"""Starting a network from weights that were read: by name and shape, all or nothing, with a report.

Only the table of positions may have another size; it is resampled, which the report says.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from eosin.errors import CheckpointError
from eosin.models.config import ViTConfig
from eosin.models.positions import resample_positions
from eosin.models.vit import VisionTransformer
from eosin.models.weights import SourceWeights

_SHOWN = 4
_LENGTHS = "last_layer.parametrizations.weight.original0"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What became of every tensor of a network and of the source it was started from.

    Names begin with the part: `backbone.norm.weight`.
    """

    source: str
    """Format and path."""
    sha256: str
    """Of the source's backbone, before anything was resampled."""
    loaded: tuple[str, ...]
    """Includes what was resampled."""
    resampled: tuple[str, ...]
    resampling: str
    """From which grid to which, in words; empty where nothing was resampled."""
    missing: tuple[str, ...]
    """Tensors of the network that the source was not asked for; they stay as they were drawn."""
    unexpected: tuple[str, ...]
    """Tensors of the source that were not asked for: its heads, when only the backbone was."""

    def summary(self) -> str:
        """Return one paragraph for a log."""
        loaded, missing = _counts(self.loaded), _counts(self.missing)
        sentences = [f"{part}: {n} of {n} tensors loaded." for part, n in loaded.items()]
        if self.resampled:
            sentences.append(f"Resampled {', '.join(self.resampled)} {self.resampling}.")
        sentences += [f"{part}: {n} tensors stay as drawn." for part, n in missing.items()]
        sentences += [
            f"{part}: {n} tensors of the source are not used."
            for part, n in _counts(self.unexpected).items()
        ]
        return f"Started from {self.source} (sha256 {self.sha256[:12]}). {' '.join(sentences)}"


def load_backbone(model: VisionTransformer, source: SourceWeights) -> LoadReport:
    """Give a backbone the weights of a source, and say what was done.

    Positions are resampled to the model's `image_size` when the source stores another grid, by the
    rule that the source was trained with.

    Raises:
        CheckpointError: If a tensor is missing, unknown, of another shape or not finite; nothing is
            loaded then.
    """
    return _load({"backbone": model}, source, with_heads=False)


def start_from(
    student: nn.ModuleDict, teacher: nn.ModuleDict, source: SourceWeights, *, with_heads: bool
) -> LoadReport:
    """Give student and teacher the weights of a source, and say what was done.

    Args:
        student: Its children are `backbone`, `dino_head` and perhaps `ibot_head`; whole and not
            sharded.
        teacher: Of the same shape; it becomes the student's copy.
        source: From `read_weights`.
        with_heads: Whether the heads are the source's too, as when a run goes on with other data,
            or stay as they were drawn.

    Raises:
        CheckpointError: If a tensor is missing, unknown, of another shape or not finite; nothing is
            loaded then.
    """
    report = _load(dict(student.named_children()), source, with_heads=with_heads)
    teacher.load_state_dict(student.state_dict())
    return report


def _load(
    network: Mapping[str, nn.Module], source: SourceWeights, *, with_heads: bool
) -> LoadReport:
    given, resampling = _given(network["backbone"], source)
    asked = sorted({*network, *given}) if with_heads else ["backbone"]
    problems = [problem for part in asked for problem in _problems(part, network, given)]
    problems += _different_heads(network["backbone"], source)
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{source.path} does not fit this model: {'; '.join(problems[:_SHOWN])}{more}. "
            "Give the model and heads the shapes of the source, or other weights; nothing was "
            "loaded"
        )
    for part in asked:
        network[part].load_state_dict(dict(given[part]))
    return LoadReport(
        source=f"{source.format} {source.path}",
        sha256=source.sha256,
        loaded=_names({part: given[part] for part in asked}),
        resampled=("backbone.pos_embed",) if resampling else (),
        resampling=resampling,
        missing=_names({x: network[x].state_dict() for x in network if x not in asked}),
        unexpected=_names({part: given[part] for part in given if part not in asked}),
    )


def _given(
    backbone: nn.Module, source: SourceWeights
) -> tuple[dict[str, Mapping[str, Tensor]], str]:
    """Return the parts of the source, positions fitted to the model, and how they were."""
    heads = {"dino_head": source.dino_head, "ibot_head": source.ibot_head}
    given = {name: part for name, part in heads.items() if part is not None}
    ours, theirs = _config(backbone), source.trained_with
    if ours.patch_size != theirs.patch_size or ours.image_size == theirs.image_size:
        return {"backbone": source.backbone, **given}, ""
    fitted, _ = resample_positions(source.backbone, theirs, ours.image_size)
    resampling = (
        f"from {theirs.grid_size} x {theirs.grid_size} to {ours.grid_size} x {ours.grid_size} "
        f"positions (offset {theirs.interpolate_offset}, antialias {theirs.is_antialiased})"
    )
    return {"backbone": fitted, **given}, resampling


def _config(backbone: nn.Module) -> ViTConfig:
    if not isinstance(backbone, VisionTransformer):
        raise TypeError(f"the backbone is a {type(backbone).__name__}, not a VisionTransformer")
    return backbone.config


def _problems(
    part: str, network: Mapping[str, nn.Module], given: Mapping[str, Mapping[str, Tensor]]
) -> Iterator[str]:
    """Yield what keeps one part from being loaded whole."""
    if part not in given:
        yield f"it has no {part}"
        return
    if part not in network:
        yield f"it has {part} and the model has none"
        return
    wanted, found = network[part].state_dict(), given[part]
    for name in wanted:
        if name not in found:
            yield f"{part}.{name} is missing"
        elif wanted[name].shape != found[name].shape:
            yield (
                f"{part}.{name} is {tuple(found[name].shape)} there and "
                f"{tuple(wanted[name].shape)} here"
            )
        elif not bool(torch.isfinite(found[name]).all()):
            yield f"{part}.{name} has values that are not finite"
    yield from (f"{part}.{name} is unknown here" for name in found if name not in wanted)
    has_fixed_lengths = (
        _LENGTHS in wanted and not network[part].get_parameter(_LENGTHS).requires_grad
    )
    if has_fixed_lengths and _LENGTHS in found and not bool((found[_LENGTHS] == 1).all()):
        yield f"{part}.{_LENGTHS} is not 1, which trains_lengths=False keeps it at"


def _different_heads(backbone: nn.Module, source: SourceWeights) -> Iterator[str]:
    """Yield a difference in attention heads, which no shape shows."""
    ours, theirs = _config(backbone).num_heads, source.config.num_heads
    if ours != theirs and not source.is_config_inferred:
        yield f"attention has {theirs} heads there and num_heads={ours} here"


def _names(parts: Mapping[str, Mapping[str, Tensor]]) -> tuple[str, ...]:
    return tuple(f"{part}.{name}" for part, tensors in parts.items() for name in tensors)


def _counts(names: tuple[str, ...]) -> Counter[str]:
    """Return the number of names of each part."""
    return Counter(name.partition(".")[0] for name in names)

"""A run fitted to a machine that people have: batch, parts, lanes, and what is kept in memory.

The recipe says what is trained; a preset says on how many devices of which size. Steps stay as they
are, and the learning rate follows the batch by the square-root rule of `TrainConfig.peak_lr`.
"""

from dataclasses import dataclass, replace
from typing import final

from eosin.errors import ConfigError
from eosin.train.config import TrainConfig
from eosin.train.memory import MemoryEstimate, estimate_memory

FILL_SHARE = 0.9
"""Of a device's memory that an estimate may take; the rest is for what it cannot know."""
FEW_PATCHES = 64
"""Runs with fewer patches to compare are reported to collapse (facebookresearch/dinov2 #173)."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A kind of machine."""

    num_devices: int
    memory_gib: int
    """Of one device."""
    global_batch: int
    """The most patches of a step that it gets through at a sensible pace."""
    num_nodes: int = 1
    """Each has a copy of the networks, cut over its devices."""
    is_gpu: bool = True


PRESETS: dict[str, Preset] = {
    "cpu": Preset(num_devices=1, memory_gib=8, global_batch=32, is_gpu=False),
    "gpu12": Preset(num_devices=1, memory_gib=12, global_batch=128),
    "gpu24": Preset(num_devices=1, memory_gib=24, global_batch=256),
    "gpu80": Preset(num_devices=1, memory_gib=80, global_batch=384),
    "8xgpu80": Preset(num_devices=8, memory_gib=80, global_batch=1536),
    "4x8xgpu80": Preset(num_devices=32, memory_gib=80, global_batch=4096, num_nodes=4),
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PresetPlan:
    """A run that fits, how its networks are laid out, and what it will need."""

    config: TrainConfig
    num_replicas: int
    """Copies of the networks, for `Layout`."""
    recompute_blocks: bool
    """Whether activations inside blocks are computed again in the backward pass."""
    memory: MemoryEstimate
    lines: tuple[str, ...]
    """What to tell people before the start."""


def apply_preset(config: TrainConfig, name: str, *, keeps_batch: bool = False) -> PresetPlan:
    """Return the run fitted to a machine.

    The batch becomes at most the machine's. It is computed in as few parts as fit; blocks are
    computed again in the backward pass only where parts would otherwise have too few patches to
    compare. Lanes become as many as the devices can share, which changes the order of the samples.

    Args:
        config: Of the run.
        name: One of `PRESETS`.
        keeps_batch: Whether the global batch stays, such as when the user has chosen it.

    Raises:
        ConfigError: If there is no such preset, the batch cannot be shared by its devices, or not
            even the smallest part fits.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    preset = PRESETS[name]
    fitted = _with_batch(config, name, preset, keeps_batch=keeps_batch)
    plain = _fewest_parts(fitted, preset, recompute=False)
    chosen, recompute = plain, False
    if plain is None or plain.part_batch < min(FEW_PATCHES, fitted.global_batch):
        again = _fewest_parts(fitted, preset, recompute=True)
        if again is not None and (plain is None or again.part_batch > plain.part_batch):
            chosen, recompute = again, True
    if chosen is None:
        raise ConfigError(_too_large(fitted, name, preset))
    memory = _memory(chosen, preset, recompute=recompute)
    return PresetPlan(
        config=chosen,
        num_replicas=preset.num_nodes,
        recompute_blocks=recompute,
        memory=memory,
        lines=tuple(_lines(config, chosen, name, recompute=recompute, memory=memory)),
    )


def _with_batch(
    config: TrainConfig, name: str, preset: Preset, *, keeps_batch: bool
) -> TrainConfig:
    """Return the run in one part, with a batch and lanes that the devices can share."""
    devices = preset.num_devices
    batch = config.global_batch
    if not keeps_batch:
        batch = min(batch, preset.global_batch) // devices * devices
    if batch < max(devices, 2) or batch % devices:
        raise ConfigError(
            f"global_batch={config.global_batch} cannot be shared by the {devices} devices of "
            f"{name}; make it a multiple of {devices}"
        )
    shared = [lanes for lanes in range(devices, batch + 1, devices) if batch % lanes == 0]
    enough = [lanes for lanes in shared if lanes >= config.data.num_lanes]
    num_lanes = enough[0] if enough else shared[-1]
    return replace(
        config,
        global_batch=batch,
        accumulation_steps=1,
        data=replace(config.data, num_lanes=num_lanes),
    )


def _fewest_parts(config: TrainConfig, preset: Preset, *, recompute: bool) -> TrainConfig | None:
    """Return the run in as few parts as fit, or None."""
    for run in _in_parts(config, preset):
        if _memory(run, preset, recompute=recompute).total <= FILL_SHARE * preset.memory_gib:
            return run
    return None


def _in_parts(config: TrainConfig, preset: Preset) -> list[TrainConfig]:
    """Return the run in every number of parts that the devices can share, the fewest first."""
    own = config.global_batch // preset.num_devices
    return [
        replace(config, accumulation_steps=parts)
        for parts in range(1, own + 1)
        if own % parts == 0 and config.global_batch // parts >= 2
    ]


def _memory(config: TrainConfig, preset: Preset, *, recompute: bool) -> MemoryEstimate:
    return estimate_memory(
        config,
        num_devices=preset.num_devices,
        num_replicas=preset.num_nodes,
        recompute=recompute,
        is_gpu=preset.is_gpu,
    )


def _too_large(config: TrainConfig, name: str, preset: Preset) -> str:
    smallest = _in_parts(config, preset)[-1]
    memory = _memory(smallest, preset, recompute=True)
    return (
        f"{name} has {preset.memory_gib} GiB a device, and parts of {smallest.part_batch} "
        f"patches need {memory.describe()}; take a larger machine, a smaller model "
        "(model.embed_dim, model.depth) or fewer prototypes (dino_head.num_prototypes, "
        "ibot_head.num_prototypes)"
    )


def _lines(
    recipe: TrainConfig,
    run: TrainConfig,
    name: str,
    *,
    recompute: bool,
    memory: MemoryEstimate,
) -> list[str]:
    preset = PRESETS[name]
    parts = run.accumulation_steps
    own = run.part_batch // preset.num_devices
    lines = [
        f"{name}: {preset.num_devices} x {preset.memory_gib} GiB; a step of {run.global_batch} "
        f"patches (the recipe: {recipe.global_batch}) in {parts} part{'s' * (parts > 1)} of "
        f"{own} on each device",
        f"memory of a device, estimated: {memory.describe()}"
        + ("; blocks are computed again on the way back, a third more time" * recompute),
        f"learning rate {run.peak_lr:.3g} = {run.optim.base_lr:g} x sqrt({run.global_batch} / 1024)"
        f" (the recipe: {recipe.peak_lr:.3g})",
        f"{run.steps:,} steps see {run.steps * run.global_batch:,} patches (the recipe: "
        f"{recipe.steps * recipe.global_batch:,})",
    ]
    if run.data.num_lanes != recipe.data.num_lanes:
        lines.append(f"{run.data.num_lanes} lanes (the recipe: {recipe.data.num_lanes})")
    if run.global_batch < FEW_PATCHES:
        lines.append(
            f"warning: runs of fewer than {FEW_PATCHES} patches a step are reported to collapse; "
            "watch mean_cosine"
        )
    elif run.part_batch < FEW_PATCHES:
        lines.append(
            f"warning: Sinkhorn-Knopp, KDE and KoLeo compare only the {run.part_batch} patches of "
            "a part; watch mean_cosine"
        )
    return lines

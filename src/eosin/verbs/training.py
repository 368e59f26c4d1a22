"""Commands about a run: train it, export it, report on it."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from eosin.errors import ConfigError
from eosin.names import get_logger
from eosin.recipes import recipe_config
from eosin.train.config import TrainConfig
from eosin.train.memory import MemoryEstimate, estimate_memory
from eosin.train.presets import PRESETS, apply_preset
from eosin.train.site import PREFETCH_BYTES, Layout
from eosin.verbs.arguments import (
    Choice,
    ChoiceOf,
    Recipe,
    Run,
    Slides,
    Tissue,
    TissueOf,
    choose,
    warn_of_other_masks,
)
from eosin.watch.settings import Watch

logger = get_logger(__name__)


@dataclass(kw_only=True)
class TrainVerb:
    """Train a model on slides; goes on by itself when out-dir holds the same run.

    RECIPE is a name such as midnight12k or nano_cpu (a wrong one lists them all), and each of its
    settings is a flag.
    """

    recipe: Recipe
    """Which run; its settings are the flags below."""
    slides: Slides
    """A folder of slides, slides, or an index."""
    out_dir: Path
    """Folder of the run: one that is new, empty, or the same run's."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU when there is one."""
    num_threads: int = 2
    """Threads that read patches ahead."""
    prefetch_bytes: int = PREFETCH_BYTES
    """Pixels that may be read ahead: a step's share of the process, where that is less."""
    extend: bool = False
    """Go on with a slide list that has changed; new slides begin with each lane's next window."""
    preset: str | None = None
    """Fit the run to a machine: cpu, gpu12, gpu24, gpu80, 8xgpu80 or 4x8xgpu80 decide the batch and
    its parts; a batch that is given stays."""
    weights: Path | None = None
    """What a recipe that does not start at random starts from: a Hugging Face folder, Meta's .pth,
    or a run."""
    layout: Layout = field(default_factory=Layout)
    watch: Watch = field(default_factory=Watch)
    manifest: bool = False
    """Write down every patch that is trained on, for `eosin manifest verify`."""
    anonymous: bool = False
    """Name slides by their content, not their files, in the manifest and all else that the run
    writes of its samples; what only serves to find the slides again keeps their paths."""
    tissue: TissueOf = field(default_factory=Tissue)
    choice: ChoiceOf = field(default_factory=Choice)
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


@dataclass(kw_only=True)
class ExportVerb:
    """Write a run's teacher as a folder that transformers' AutoModel loads without a difference."""

    run: Run
    """Folder of the run."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write; replaced if it is an export with nothing else in it."""
    best: bool = False
    """Take the teacher that the run has kept as its best (--watch.keep-best of eosin train)."""
    average: int = 1
    """Take the mean of the teachers of that many newest checkpoints."""


@dataclass(kw_only=True)
class ReportVerb:
    """Write report.html into a run's folder, during or after the run."""

    run: Run
    """Folder of the run."""
    anonymous: bool = False
    """Name slides by their content instead of their files, for a page that is passed on."""


def train(args: TrainVerb) -> None:
    from eosin.journey import train_with_progress
    from eosin.train.begin import check_start
    from eosin.train.checkpoint import list_checkpoints
    from eosin.train.machine import warnings_for
    from eosin.train.out_dir import refuse_folder_of_others
    from eosin.train.run_folder import RunFolder
    from eosin.train.site import Site
    from eosin.train.world import is_main_process, own_device

    # Refused before slides are looked for, which can take long.
    args = replace(args, config=args.tissue.applied_to(args.config, args.recipe))
    device = own_device(args.device)
    if is_main_process():
        refuse_folder_of_others(args.out_dir)
        if not list_checkpoints(RunFolder(args.out_dir).checkpoints):
            check_start(args.config, args.weights)
    fitted = fit_to_machine(args, is_gpu=device.type == "cuda")
    chosen = choose(args.slides, args.choice)
    # What the run will need is of interest once there is a run.
    if is_main_process():
        for line in fitted.lines:
            logger.info("%s", line)
        for line in warnings_for(fitted.memory, device, preset=args.preset):
            logger.warning("warning: %s", line)
    site = Site(
        device=args.device,
        num_threads=args.num_threads,
        prefetch_bytes=args.prefetch_bytes,
        has_manifest=args.manifest,
        anonymous=args.anonymous,
        extend=args.extend,
        layout=fitted.layout,
    )
    if is_main_process():
        warn_of_other_masks(chosen.masks, fitted.config.data.tissue_detector)
    run = train_with_progress(
        fitted.config,
        chosen.entries,
        args.out_dir,
        backend=chosen.backend,
        site=replace(site, masks=chosen.masks),
        weights=args.weights,
        watch=args.watch,
        recipe=args.recipe,
        left_out=chosen.left_out,
    )
    if is_main_process():
        print(run.path)


class Fitted(NamedTuple):
    """A run on a machine."""

    config: TrainConfig
    layout: Layout
    memory: MemoryEstimate
    """Of each device."""
    lines: tuple[str, ...]
    """What to tell people before the start."""


def fit_to_machine(args: TrainVerb, *, is_gpu: bool) -> Fitted:
    """Return the run fitted to the machine.

    Raises:
        ConfigError: If the preset is for other processes, or does not go with other arguments.
    """
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    config, layout = args.config, args.layout
    if args.preset is None:
        memory = estimate_memory(
            config,
            num_devices=num_processes,
            num_replicas=layout.num_replicas,
            recompute=layout.recompute_blocks,
            is_gpu=is_gpu,
        )
        lines = (
            f"memory of a device, estimated: {memory.describe()}",
            f"learning rate {config.peak_lr:.3g} at a batch of {config.global_batch}",
        )
        return Fitted(config, layout, memory, lines)
    recipe = recipe_config(args.recipe)
    if config.accumulation_steps != recipe.accumulation_steps:
        raise ConfigError(
            f"--preset {args.preset} decides the parts of a step; leave out --accumulation-steps "
            f"{config.accumulation_steps}, or the preset"
        )
    keeps_batch = config.global_batch != recipe.global_batch
    plan = apply_preset(config, args.preset, keeps_batch=keeps_batch)
    num_devices = PRESETS[args.preset].num_devices
    if num_devices != num_processes:
        raise ConfigError(
            f"--preset {args.preset} is for {num_devices} processes and this is {num_processes}; "
            "start them with torchrun (docs/training.md), or take another preset"
        )
    if layout.num_replicas not in (1, plan.num_replicas):
        raise ConfigError(
            f"--preset {args.preset} decides the copies of the networks ({plan.num_replicas}); "
            f"leave out --layout.num-replicas {layout.num_replicas}, or the preset"
        )
    layout = replace(
        layout,
        num_replicas=plan.num_replicas,
        recompute_blocks=layout.recompute_blocks or plan.recompute_blocks,
    )
    return Fitted(plan.config, layout, plan.memory, plan.lines)


def export(args: ExportVerb) -> None:
    from eosin.journey import export_run

    export_run(args.run, args.out, is_best=args.best, num_averaged=args.average)
    print(args.out)


def report(args: ReportVerb) -> None:
    from eosin.report.run import write_run_report

    print(write_run_report(args.run, anonymous=args.anonymous))

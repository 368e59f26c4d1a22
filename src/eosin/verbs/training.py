"""Commands about a run: train it, preview it, export it, report on it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from eosin.train.config import TrainConfig
from eosin.verbs.arguments import Overrides, Recipe, Slides, as_paths


@dataclass(kw_only=True)
class TrainVerb:
    """Train a model on slides; goes on by itself when out-dir holds the same run.

    RECIPE is midnight12k or nano_cpu, and each of its settings is a flag.
    """

    recipe: Recipe
    """Which run; its settings are the flags below."""
    slides: Slides
    """A folder of slides, or slides."""
    out_dir: Path
    """Folder of the run."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU when there is one."""
    num_threads: int = 2
    """Threads that read patches ahead."""
    mpp_overrides: Overrides = field(default_factory=dict)
    """Microns per level-0 pixel by file name, for slides that do not say or say wrong."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


@dataclass(kw_only=True)
class PreviewVerb:
    """Write a page that shows what a recipe would train on: masks, places, patches, views."""

    recipe: Recipe
    """Which run; its settings are the flags below."""
    slides: Slides
    """A folder of slides, or slides."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The HTML page to write."""
    mpp_overrides: Overrides = field(default_factory=dict)
    """Microns per level-0 pixel by file name, for slides that do not say or say wrong."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


@dataclass(kw_only=True)
class ExportVerb:
    """Write a run's teacher as a folder that transformers' AutoModel loads without a difference."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write; replaced if it exists."""


@dataclass(kw_only=True)
class ReportVerb:
    """Write report.html into a run's folder, during or after the run."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""


def train(args: TrainVerb) -> None:
    from eosin.journey import train_with_progress

    run = train_with_progress(
        args.config,
        as_paths(args.slides),
        args.out_dir,
        device=args.device,
        num_threads=args.num_threads,
        mpp_overrides=args.mpp_overrides,
    )
    print(run.path)


def preview(args: PreviewVerb) -> None:
    from eosin.backends import AutoBackend, MppPolicy
    from eosin.report.preview import write_preview

    backend = AutoBackend(mpp=MppPolicy(overrides=args.mpp_overrides))
    write_preview(args.out, args.config, as_paths(args.slides), backend, title=args.recipe)
    print(args.out)


def export(args: ExportVerb) -> None:
    from eosin.journey import export_run

    export_run(args.run, args.out)
    print(args.out)


def report(args: ReportVerb) -> None:
    from eosin.report.run import write_run_report

    print(write_run_report(args.run))

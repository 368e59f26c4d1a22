"""Commands about slides: look at all of them, time them, prove what was read from them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from eosin.errors import ConfigError, EosinError
from eosin.train.config import TrainConfig
from eosin.verbs.arguments import (
    Choice,
    ChoiceOf,
    Recipe,
    Slides,
    Tissue,
    TissueOf,
    choose,
    masks_beside,
    named_recipe,
    warn_of_other_masks,
)


@dataclass(kw_only=True)
class ScanVerb:
    """Look at every slide once: what is there, what cannot be used and why; tissue masks.

    The index that is written can be given to every command that takes slides. A second scan takes
    over the slides that have not changed.
    """

    slides: Slides
    """A folder of slides, slides, or a table with a `path` column."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The index to write, ending in .parquet; masks go into a folder beside it."""
    recipe: str = "midnight12k"
    """Whose tissue detector, magnifications and patch filter are tried."""
    candidates: int = 16
    """Patches read for each magnification, to estimate how many the filter accepts."""
    num_threads: int = 2
    """Slides that are looked at together."""
    tissue: TissueOf = field(default_factory=Tissue)
    choice: ChoiceOf = field(default_factory=Choice)


@dataclass(kw_only=True)
class BenchVerb:
    """Time the stream of a recipe on your slides: patches a second by stage, and advice."""

    slides: Slides
    """A folder of slides, slides, or an index."""
    recipe: str = "midnight12k"
    patches: int = 400
    """Accepted patches of each run."""
    num_threads: int = 2
    """Of the run with threads."""
    tissue: TissueOf = field(default_factory=Tissue)
    choice: ChoiceOf = field(default_factory=Choice)


@dataclass(kw_only=True)
class ManifestVerb:
    """Read patches of a manifest again and compare their checksums."""

    action: tyro.conf.Positional[Literal["verify"]]
    """What to do."""
    folder: tyro.conf.Positional[Path]
    """Of the manifest, such as RUN/manifest."""
    slides: Slides
    """Where the slides are now."""
    samples: int = 1000
    """Rows to look at, drawn at random."""
    num_threads: int = 2
    choice: ChoiceOf = field(default_factory=Choice)


@dataclass(kw_only=True)
class PreviewVerb:
    """Write a page that shows what a recipe would train on: masks, places, patches, views."""

    recipe: Recipe
    """Which run; its settings are the flags below."""
    slides: Slides
    """A folder of slides, slides, or an index."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The HTML page to write."""
    anonymous: bool = False
    """Name slides by their content instead of their files, for a page that is passed on."""
    tissue: TissueOf = field(default_factory=Tissue)
    choice: ChoiceOf = field(default_factory=Choice)
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


def scan(args: ScanVerb) -> None:
    from eosin.backends.crash import CrashLog
    from eosin.scan import ScanPlan, check_places, scan_slides, summary
    from eosin.tissue import MaskStore

    data = args.tissue.applied_to(named_recipe(args.recipe), args.recipe).data
    mask_store = MaskStore(masks_beside(args.out))
    crash_log = CrashLog(args.out.with_suffix(".crashes"))
    # Before slides are looked for, which can take long.
    check_places(args.out, folders=[mask_store.folder, crash_log.folder], inputs=args.slides)
    chosen = choose(args.slides, args.choice)
    plan = ScanPlan(
        backend=chosen.backend,
        tissue_source=data.tissue_detector,
        sampler=data.sampler,
        patch_filter=data.patch_filter,
        num_candidates=args.candidates,
    )
    scanned = scan_slides(
        chosen.entries,
        args.out,
        plan,
        mask_store=mask_store,
        crash_log=crash_log,
        num_threads=args.num_threads,
    )
    print(summary(scanned))


def bench(args: BenchVerb) -> None:
    from eosin.speed import describe, measure_stream
    from eosin.train.stream import make_pipeline

    config = args.tissue.applied_to(named_recipe(args.recipe), args.recipe)
    chosen = choose(args.slides, args.choice)
    warn_of_other_masks(chosen.masks, config.data.tissue_detector)
    pipeline = make_pipeline(
        config, chosen.entries, backend=chosen.backend, mask_store=chosen.masks
    )
    speed = measure_stream(pipeline, num_patches=args.patches, num_threads=args.num_threads)
    print(describe(speed))


def manifest(args: ManifestVerb) -> None:
    from collections import Counter

    from eosin.stream.verify import verify_manifest

    if args.samples < 1:
        raise ConfigError(f"samples={args.samples} must be at least 1; none would prove nothing")
    chosen = choose(args.slides, args.choice)
    verified = verify_manifest(
        args.folder,
        chosen.entries,
        chosen.backend,
        num_samples=args.samples,
        num_threads=args.num_threads,
    )
    for row in verified:
        if row.verdict != "ok":
            print(f"sample {row.index} of {row.slide}: {row.verdict} {row.detail}".rstrip())
    counts = Counter(row.verdict for row in verified)
    print(", ".join(f"{number} {verdict}" for verdict, number in counts.most_common()))
    num_bad = counts.total() - counts["ok"]
    if num_bad:
        raise EosinError(f"{num_bad} of {counts.total()} patches are not what was delivered")


def preview(args: PreviewVerb) -> None:
    from eosin.report.page import check_page
    from eosin.report.preview import write_preview

    check_page(args.out, inputs=args.slides)
    config = args.tissue.applied_to(args.config, args.recipe)
    chosen = choose(args.slides, args.choice)
    warn_of_other_masks(chosen.masks, config.data.tissue_detector)
    if args.anonymous:
        chosen = chosen.anonymous()
    write_preview(
        args.out,
        config,
        chosen.entries,
        chosen.backend,
        title=args.recipe,
        mask_store=chosen.masks,
        left_out=chosen.left_out,
    )
    print(args.out)

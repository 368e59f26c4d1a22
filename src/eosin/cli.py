"""The command line: verbs named like the folders, each a thin call into them.

Output is on stdout, talk on stderr; 0 is success, 1 a failure, 2 a wrong command line. Everything
heavy is imported by the verb that needs it, so that `--help` answers at once.
"""

import dataclasses
import difflib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from eosin import __version__
from eosin.atomic import write_atomic
from eosin.errors import ConfigError, EosinError, MissingDependencyError
from eosin.recipes import RECIPES, recipe_config
from eosin.train.config import TrainConfig

Slides = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SLIDES")]
Recipe = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
Overrides = dict[str, float]


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
class EmbedVerb:
    """Write features of slides, one HDF5 file each; slides already done are left alone."""

    model: tyro.conf.Positional[Path]
    """A run, or a Hugging Face folder of a DINOv2 model."""
    slides: Slides
    """A folder of slides, or slides."""
    out_dir: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the feature files."""
    mpp: float = 0.5
    """Microns per pixel of the patches."""
    patch_size: int = 256
    """Pixels of a patch, resized to what the model takes."""
    stride: int | None = None
    """Pixels from one patch to the next; the patch size by default."""
    tissue_threshold: float = 0.4
    """Least share of tissue in a patch."""
    batch_size: int = 64
    device: str = "auto"
    num_threads: int = 2
    mpp_overrides: Overrides = field(default_factory=dict)
    """Microns per level-0 pixel by file name, for slides that do not say or say wrong."""


@dataclass(kw_only=True)
class EvaluateVerb:
    """Probe a model on labelled tiles: kNN and a linear classifier, with 95 % intervals.

    A colour histogram is probed beside it, which any model has to beat.
    """

    model: tyro.conf.Positional[Path]
    """A run, or a Hugging Face folder of a DINOv2 model."""
    data_dir: Path
    """Holds train/CLASS/*.png and test/CLASS/*.png."""
    with_initial: bool = False
    """Probe the run's own random initialisation as well, and say the difference."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file with the numbers and every prediction."""
    device: str = "auto"


@dataclass(kw_only=True)
class ReportVerb:
    """Write report.html into a run's folder, during or after the run."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""


@dataclass(kw_only=True)
class DemoVerb:
    """Make the whole journey on slides drawn here, or on yours: minutes on a CPU."""

    out_dir: Path = Path("runs/demo")
    """Folder for everything that is made."""
    slides: Path | None = None
    """A folder of slides to train on instead of drawn ones."""
    overwrite: bool = False
    """Begin anew when the folder holds an earlier demo; without it, go on with that."""
    steps: int | None = None
    """Training steps, fewer or more than the demo's own."""


def train(args: TrainVerb) -> None:
    from eosin.journey import train_with_progress

    run = train_with_progress(
        args.config,
        _paths(args.slides),
        args.out_dir,
        device=args.device,
        num_threads=args.num_threads,
        mpp_overrides=args.mpp_overrides,
    )
    print(run.path)


def preview(args: PreviewVerb) -> None:
    from eosin.backends.openslide import OpenSlideBackend
    from eosin.report.preview import write_preview

    backend = OpenSlideBackend(mpp_overrides=args.mpp_overrides)
    write_preview(args.out, args.config, _paths(args.slides), backend, title=args.recipe)
    print(args.out)


def export(args: ExportVerb) -> None:
    from eosin.journey import export_run

    export_run(args.run, args.out)
    print(args.out)


def embed(args: EmbedVerb) -> None:
    from eosin.appraisal import embed_with_progress, open_model
    from eosin.sampling.grid import GridSampler

    grid = GridSampler(
        patch_size=args.patch_size,
        stride=args.stride,
        target_mpp=args.mpp,
        tissue_threshold=args.tissue_threshold,
    )
    num_failed = embed_with_progress(
        open_model(args.model, args.device),
        _paths(args.slides),
        args.out_dir,
        grid=grid,
        batch_size=args.batch_size,
        num_threads=args.num_threads,
        mpp_overrides=args.mpp_overrides,
    )
    print(args.out_dir)
    if num_failed:
        raise EosinError(f"{num_failed} slides could not be embedded, see above; the others are")


def evaluate(args: EvaluateVerb) -> None:
    from eosin.appraisal import open_models
    from eosin.evaluate.tiles import evaluate_tiles

    models = open_models(args.model, args.device, with_initial=args.with_initial)
    comparison = evaluate_tiles(models, args.data_dir)
    if args.out is not None:
        weights = {name: encoder.weights_sha256 for name, encoder in models.items()}
        record = {"model": str(args.model), "weights_sha256": weights, **comparison.to_json()}
        write_atomic(args.out, json.dumps(record, indent=1))
    print(comparison.describe())


def report(args: ReportVerb) -> None:
    from eosin.report.run import write_run_report

    print(write_run_report(args.run))


def demo(args: DemoVerb) -> None:
    from eosin.demo import run_demo

    print(
        run_demo(args.out_dir, slides=args.slides, overwrite=args.overwrite, num_steps=args.steps)
    )


RECIPE_VERBS: dict[str, tuple[type, Callable[..., None]]] = {
    "train": (TrainVerb, train),
    "preview": (PreviewVerb, preview),
}
"""Verbs whose first argument is a recipe; the recipe's settings are the defaults of their flags."""

VERBS: dict[str, tuple[type, Callable[..., None]]] = {
    **RECIPE_VERBS,
    "export": (ExportVerb, export),
    "embed": (EmbedVerb, embed),
    "evaluate": (EvaluateVerb, evaluate),
    "report": (ReportVerb, report),
    "demo": (DemoVerb, demo),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # OpenMP threads that wait by spinning take the cores from the threads that read patches, and on
    # a shared machine from everybody (2 to 4 times slower steps; see docs/log.md). Read by torch's
    # OpenMP when it is first imported, which only the verbs do.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        _run(words)
    except ConfigError as error:
        _fail(error, 2)
    except EosinError as error:
        _fail(error, 1)
    except BrokenPipeError:
        # Whoever read our output has had enough.
        sys.exit(1)
    except OSError as error:
        _fail(error, 1)
    except ModuleNotFoundError as error:
        _fail(_missing_package(error), 1)
    except KeyboardInterrupt:
        sys.stderr.write("eosin: stopped; the same command goes on with what is there\n")
        sys.exit(130)


def _run(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        sys.stdout.write(__version__ + "\n")
        sys.exit(0)
    name, rest = words[0], words[1:]
    if name not in VERBS:
        raise ConfigError(f"there is no command {name!r}{_did_you_mean(name, VERBS)}; see --help")
    verb_type, run = VERBS[name]
    run(_parse(name, verb_type, rest))


def _parse(name: str, verb_type: type[object], words: list[str]) -> object:
    """Return the arguments of a verb; ends the process after help or a wrong command line."""
    default: object = tyro.MISSING_NONPROP
    if name in RECIPE_VERBS:
        # Without a recipe there is no default for the flags; then help shows those of the first.
        recipe = words[0] if words and not words[0].startswith("-") else next(iter(RECIPES))
        default = _with_defaults(verb_type, recipe_config(recipe))
    parsed: object
    parsed, unknown = tyro.cli(
        verb_type,
        args=words,
        default=default,
        prog=f"eosin {name}",
        return_unknown_args=True,
        config=(tyro.conf.AvoidSubcommands,),
    )
    if name in RECIPE_VERBS and words[:1] != [vars(parsed)["recipe"]]:
        raise ConfigError(f"name the recipe first, as in: eosin {name} {next(iter(RECIPES))} ...")
    if unknown:
        raise ConfigError(
            f"'eosin {name}' has no option {unknown[0]!r}; 'eosin {name} --help' lists them"
        )
    return parsed


def _with_defaults(verb_type: type[object], config: TrainConfig) -> object:
    """Return a verb's arguments as far as they are known before the words are read."""
    known = verb_type.__new__(verb_type)
    for entry in dataclasses.fields(verb_type):  # type: ignore[arg-type]
        if entry.default is not dataclasses.MISSING:
            value = entry.default
        elif entry.default_factory is not dataclasses.MISSING:
            value = entry.default_factory()
        else:
            value = config if entry.name == "config" else tyro.MISSING
        setattr(known, entry.name, value)
    return known


def _missing_package(error: ModuleNotFoundError) -> MissingDependencyError:
    package = (error.name or "").split(".")[0]
    extra = "train" if package in ("torch", "safetensors") else "eval"
    return MissingDependencyError(f"this command needs {package!r}: pip install 'eosin[{extra}]'")


def _overview() -> str:
    lines = ["usage: eosin COMMAND ...  ('eosin COMMAND --help' says more)", ""]
    for name, (verb_type, _) in VERBS.items():
        lines.append(f"  {name:10}{(verb_type.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, ""])


def _did_you_mean(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]!r}" if close else ""


def _paths(slides: Sequence[Path]) -> list[str | Path]:
    return list(slides)


def _fail(error: Exception, code: int) -> None:
    message = " ".join(str(error).split())
    sys.stderr.write(f"eosin: {message}\n")
    sys.exit(code)

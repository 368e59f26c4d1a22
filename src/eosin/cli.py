"""The command line: verbs named like the folders, each a thin call into them.

Output is on stdout, talk on stderr; 0 is success, 1 a failure, 2 a wrong command line, 75 a run
that was asked to stop, has saved and can go on. Everything heavy is imported by the verb that needs
it, so that `--help` answers at once.
"""

import contextlib
import dataclasses
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile

import tyro

from eosin import __version__
from eosin.errors import (
    ConfigError,
    EosinError,
    InterruptedRunError,
    MissingDependencyError,
    system_advice,
    system_reason,
)
from eosin.names import shown
from eosin.reading import exists
from eosin.recipes import RECIPES
from eosin.train.config import TrainConfig
from eosin.verbs import demo, features, slides, training
from eosin.verbs.arguments import did_you_mean, named_recipe

logger = logging.getLogger(__name__)

EXIT_INTERRUPTED = 75
"""As sysexits.h has it: a failure that will pass, try again (EX_TEMPFAIL)."""

_MAX_MESSAGE = 2000
"""Characters of an error that are shown; what a message names may be of any length."""

RECIPE_VERBS: dict[str, tuple[type, Callable[..., None]]] = {
    "train": (training.TrainVerb, training.train),
    "preview": (slides.PreviewVerb, slides.preview),
}
"""Verbs whose first argument is a recipe; the recipe's settings are the defaults of their flags."""

VERBS: dict[str, tuple[type, Callable[..., None]]] = {
    "scan": (slides.ScanVerb, slides.scan),
    "bench": (slides.BenchVerb, slides.bench),
    **RECIPE_VERBS,
    "manifest": (slides.ManifestVerb, slides.manifest),
    "export": (training.ExportVerb, training.export),
    "embed": (features.EmbedVerb, features.embed),
    "evaluate": (features.EvaluateVerb, features.evaluate),
    "report": (training.ReportVerb, training.report),
    "demo": (demo.DemoVerb, demo.demo),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Of the processes that torchrun starts, one talks and the others only complain.
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path that is printed for a script is that path, whatever bytes it has.
        is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    # Of a damaged header it writes a line a page; what it comes to is said by the reader.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # OpenMP threads that wait by spinning take the cores from the threads that read patches, and on
    # a shared machine from everybody (2 to 4 times slower steps; see docs/log.md). Read by torch's
    # OpenMP when it is first imported, which only the verbs do.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # The scores of hidden patches are the largest tensors of a step, and another size in every one:
    # GPU memory that cannot grow in place would be lost in the gaps between them.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    try:
        _run(words)
    except ConfigError as error:
        _fail(error, 2)
    except InterruptedRunError as error:
        _fail(error, EXIT_INTERRUPTED)
    except EosinError as error:
        _fail(error, 1)
    except BrokenPipeError:
        # Whoever read our output has had enough.
        sys.exit(1)
    except OSError as error:
        parts = (error.filename, system_reason(error), system_advice(error))
        _fail(EosinError("; ".join(str(part) for part in parts if part)), 1)
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
        close = did_you_mean(name, VERBS) or f"; there are {', '.join(VERBS)}"
        raise ConfigError(f"there is no command {name!r}{close}; 'eosin --help' says more")
    verb_type, run = VERBS[name]
    run(_parse(name, verb_type, rest))


def _parse(name: str, verb_type: type[object], words: list[str]) -> object:
    """Return the arguments of a verb; ends the process after help.

    Raises:
        ConfigError: If the words are none that the verb takes.
    """
    default: object = tyro.MISSING_NONPROP
    if name in RECIPE_VERBS:
        # Without a recipe there is no default for the flags; then help shows those of the first.
        recipe = words[0] if words and not words[0].startswith("-") else next(iter(RECIPES))
        _refuse_swapped(name, recipe, words)
        settings = named_recipe(recipe)
        as_long_as_asked = _with_steps(settings, words)
        default = _with_defaults(verb_type, as_long_as_asked)

    def parse(words: Sequence[str]) -> tuple[object, list[str]]:
        return tyro.cli(
            verb_type,
            args=words,
            default=default,
            prog=f"eosin {name}",
            return_unknown_args=True,
            config=(tyro.conf.AvoidSubcommands,),
        )

    talk = io.StringIO()
    try:
        with contextlib.redirect_stderr(talk):
            parsed, unknown = parse(words)
    except SystemExit as end:
        if not end.code:
            raise
        # An option that is not there is often why another is missing.
        _refuse_unknown_options(name, words, parse)
        raise ConfigError(
            f"{_in_one_line(name, talk.getvalue())}; 'eosin {name} --help' says more"
        ) from None
    if name in RECIPE_VERBS and words[:1] != [vars(parsed)["recipe"]]:
        raise ConfigError(f"name the recipe first, as in: eosin {name} {next(iter(RECIPES))} ...")
    if unknown:
        _refuse_unknown_options(name, unknown, parse)
        raise ConfigError(
            f"'eosin {name}' has no place for {unknown[0]!r}; 'eosin {name} --help' says more"
        )
    if vars(parsed).get("slides") == ():
        before = f" {vars(parsed)['recipe']}" if name in RECIPE_VERBS else ""
        raise ConfigError(
            f"'eosin {name}' needs SLIDES: a folder of slides, slides, or a table or index of "
            f"them, as in: eosin {name}{before} SLIDES ..."
        )
    if name in RECIPE_VERBS:
        _say_what_was_shortened(settings, as_long_as_asked, vars(parsed)["config"])
    return parsed


def _with_steps(recipe: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """Return the recipe with as many steps as the words ask for, and phases that fit into them.

    These are the defaults of the other flags, so that what is given is taken as it is.
    """
    steps = recipe.steps
    for number, word in enumerate(words):
        option, _, value = word.partition("=")
        if option == "--steps":
            with contextlib.suppress(ValueError):  # which is said when all words are read
                steps = int(value or "".join(words[number + 1 : number + 2]))
    return recipe.with_steps(steps)


def _say_what_was_shortened(recipe: TrainConfig, default: TrainConfig, config: TrainConfig) -> None:
    """Name the settings that a short run has because of its steps, not those that were given."""
    shortened = [
        f"{part}.{setting}={getattr(getattr(config, part), setting)}"
        for part, setting in (
            ("optim", "warmup_steps"),
            ("optim", "freeze_last_layer_steps"),
            ("optim", "freeze_backbone_steps"),
            ("teacher", "warmup_temperature_steps"),
        )
        if getattr(getattr(recipe, part), setting)
        != getattr(getattr(default, part), setting)
        == getattr(getattr(config, part), setting)
    ]
    if shortened:
        logger.info(
            "for %d steps instead of %d: %s", config.steps, recipe.steps, ", ".join(shortened)
        )


def _refuse_unknown_options(
    name: str, words: Sequence[str], parse: Callable[[Sequence[str]], object]
) -> None:
    """Refuse words that look like options and are none of a verb, with what may be meant."""
    page = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "1000"  # no name of an option may be cut
    try:
        with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
            parse(["--help"])
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    options = sorted(
        {*re.findall(r"(?<![\w.-])--?[a-z][\w.-]*", page.getvalue())} - {"--help", "-h"}
    )
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if not re.match("--?[a-z]", option) or option in options:
            continue
        # Settings of a part have its name before them: --warmup-steps is --optim.warmup-steps.
        meant = (option.strip("-"), _NAMES_ELSEWHERE.get(option.strip("-")))
        inner = [
            one for one in options if one.strip("-") in meant or one.rpartition(".")[2] in meant
        ]
        close = f"; did you mean {inner[0]!r}" if inner else did_you_mean(option, options)
        raise ConfigError(
            f"'eosin {name}' has no option {word.partition('=')[0]!r}{close}; "
            f"'eosin {name} --help' lists them"
        )


_NAMES_ELSEWHERE = {
    "batch-size": "global-batch",
    "epochs": "steps",
    "learning-rate": "base-lr",
    "lr": "base-lr",
    "max-steps": "steps",
    "num-workers": "num-threads",
    "output": "out",
    "output-dir": "out-dir",
    "workers": "num-threads",
}
"""What other programs call options of ours."""

_IN_PLAIN_WORDS = (
    (
        r"Error parsing (\S+): .*invalid literal for int\(\) with base 10: (.*)",
        r"\1: \2 is no integer",
    ),
    (r"Error parsing (\S+): .*could not convert string to float: (.*)", r"\1: \2 is no number"),
    (
        r"Error parsing (\S+): Failed to parse key-value pairs!",
        r"\1 needs pairs of a name and a value",
    ),
    (
        r"Error parsing (\S+): Could not find valid parse for arguments: \[(.*)\]",
        r"\1: \2 cannot be understood; several values are separated by spaces",
    ),
    (r"Error parsing (\S+): (.*)", r"\1: \2"),
    (
        r"[Ii]nvalid choice (.*) for argument '(.*)'\. Expected one of \((.*?),?\)\.",
        r"\2: \1 is none of \3",
    ),
    (r"Missing value for argument '(.*)'\. Expected 1 values\.", r"\1 needs a value"),
    (r"Missing value for argument '(.*)'\. Expected (\d+) values\.", r"\1 needs \2 values"),
)
"""What tyro says of wrong arguments, and how it is said here."""


def _in_one_line(name: str, box: str) -> str:
    """Return what is wrong by tyro, which draws it in a box, with help below a rule.

    Where the terminal has no letters for boxes, the title stands above a rule of its own.
    """
    drawn = [line for line in box.splitlines() if line.strip()[:1] not in ("╭", "╰")]
    rows = [line.strip()[1:-1].rstrip() if line.strip()[:1] == "│" else line for line in drawn]
    is_rule = [bool(row.strip()) and not row.strip("─- ") for row in rows]
    if is_rule[1:2] == [True]:
        rows, is_rule = rows[2:], is_rule[2:]
    rows = rows[: [*is_rule, True].index(True)]
    said = " ".join(" ".join(rows or [box]).split())
    if not said.startswith("Missing from"):
        for theirs, ours in _IN_PLAIN_WORDS:
            if re.fullmatch(theirs, said):
                return re.sub(theirs, ours, said)
        return said
    # Below the title are names of arguments, and further in what they are.
    needed: list[tuple[str, list[str]]] = []
    indent = min((len(row) - len(row.lstrip()) for row in rows[1:] if row.strip()), default=0)
    for row in filter(str.strip, rows[1:]):
        if len(row) - len(row.lstrip()) == indent:
            needed.append((row.strip(), []))
        elif needed:
            needed[-1][1].append(row.strip())
    described = (
        f"{argument} ({' '.join(help_rows).removesuffix('(required)').rstrip(' .')})"
        for argument, help_rows in needed
    )
    return f"'eosin {name}' needs {' and '.join(described)}"


def _refuse_swapped(verb: str, recipe: str, words: Sequence[str]) -> None:
    """Refuse slides that stand where the recipe belongs."""
    if recipe in RECIPES:
        return
    # A recipe's name behind an option may be that option's value, such as the folder of a run.
    before_options = takewhile(lambda word: not word.startswith("-"), words)
    meant = next((word for word in before_options if word in RECIPES), None)
    if meant is not None or exists(recipe):
        which = "" if meant else f"; a recipe is one of {', '.join(RECIPES)}"
        raise ConfigError(
            f"{recipe!r} is no recipe, and RECIPE comes first: "
            f"eosin {verb} {meant or 'RECIPE'} {recipe}{which}"
        )


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


def _fail(error: Exception, code: int) -> None:
    message = shown(" ".join(str(error).split()))
    if len(message) > _MAX_MESSAGE:
        message = f"{message[: _MAX_MESSAGE // 2]} ... {message[-_MAX_MESSAGE // 2 :]}"
    sys.stderr.write(f"eosin: {message}\n")
    sys.exit(code)

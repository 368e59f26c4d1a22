"""The command line: verbs named like the folders, each a thin call into them.

Output is on stdout, talk on stderr; 0 is success, 1 a failure, 2 a wrong command line, 75 a run
that was asked to stop, has saved and can go on. Everything heavy is imported by the verb that needs
it, so that `--help` answers at once.
"""

import copy
import dataclasses
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import PurePath

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
from eosin.names import escaped
from eosin.reading import exists
from eosin.recipes import RECIPES
from eosin.train.config import TrainConfig
from eosin.verbs import demo, features, slides, training
from eosin.verbs.arguments import did_you_mean, named_recipe

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
    talk = logging.StreamHandler(sys.stderr)
    talk.setFormatter(EscapingFormatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[talk])
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path that is printed for a script is that path, whatever bytes it has.
        sys.stdout.reconfigure(errors="surrogateescape")
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
        raise ConfigError(f"there is no command {name!r}{did_you_mean(name, VERBS)}; see --help")
    verb_type, run = VERBS[name]
    run(_parse(name, verb_type, rest))


def _parse(name: str, verb_type: type[object], words: list[str]) -> object:
    """Return the arguments of a verb; ends the process after help or a wrong command line."""
    default: object = tyro.MISSING_NONPROP
    if name in RECIPE_VERBS:
        # Without a recipe there is no default for the flags; then help shows those of the first.
        recipe = words[0] if words and not words[0].startswith("-") else next(iter(RECIPES))
        _refuse_swapped(name, recipe, words)
        default = _with_defaults(verb_type, named_recipe(recipe))
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


class EscapingFormatter(logging.Formatter):
    """Keeps file names in messages from breaking lines and a terminal's writing direction."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message with its texts and paths `escaped`; one that is all text stays."""
        if isinstance(record.args, tuple) and record.msg != "%s":
            record = copy.copy(record)
            record.args = tuple(
                escaped(str(value)) if isinstance(value, str | PurePath) else value
                for value in record.args or ()
            )
        return super().format(record)


def _fail(error: Exception, code: int) -> None:
    message = escaped(" ".join(str(error).split()))
    if len(message) > _MAX_MESSAGE:
        message = f"{message[: _MAX_MESSAGE // 2]} ... {message[-_MAX_MESSAGE // 2 :]}"
    sys.stderr.write(f"eosin: {message}\n")
    sys.exit(code)

"""Every deliberate exception of eosin, in one tree.

EosinError
├── ConfigError            a recipe, argument or flag is wrong; nothing has run yet
├── InputError             a file or folder that was given cannot be used
│   └── CheckpointError    a checkpoint is damaged, or belongs to another run
├── SlideError             one slide cannot be used; a stream goes on without it
│   ├── SlideOpenError     the file cannot be opened as a slide
│   ├── SlideReadError     a region of it cannot be read
│   ├── MissingMppError    it does not say how large its pixels are
│   └── NoPlaceError       no place on it can give the patch that was asked for
├── StreamStalledError     nothing can be drawn anywhere; the stream must stop
├── TrainingError          a run cannot go on, such as after too many non-finite steps
│   └── CollapseError      the model says the same of every tile
├── InterruptedRunError    a run was asked to stop; it has saved and can go on
└── MissingDependencyError an optional package is needed and not installed

A message has three parts: what is wrong, which value, what to do.
"""

from collections.abc import Callable
from pathlib import Path

from eosin.names import escaped


class EosinError(Exception):
    """The root of all errors that eosin raises on purpose."""


class ConfigError(EosinError, ValueError):
    """A recipe, argument or flag is wrong; nothing has run yet."""


def check_whole_number(name: str, value: object, least: int, most: int) -> None:
    """Refuse a setting that is no whole number from `least` to `most`.

    The upper end is far beyond any use: what lies above it is a slip of the keyboard or a damaged
    file, and would take all memory or never end.

    Raises:
        ConfigError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}={str(value)[:40]} must be a whole number")
    if not least <= value <= most:
        # A number of a million digits cannot even be written out.
        shown = str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
        end = f"at least {least}" if value < least else f"at most {most:,}"
        raise ConfigError(f"{name}={shown} must be {end}")


class InputError(EosinError):
    """A file or folder that was given cannot be used."""


class CheckpointError(InputError):
    """A checkpoint is damaged, or belongs to another run."""


class SlideError(EosinError):
    """One slide cannot be used; a stream goes on without it."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{escaped(str(path))}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type["SlideError"], tuple[str, str]]:
        """Pickle by both arguments, so that the error crosses processes."""
        return type(self), (self.path, self.reason)


class SlideOpenError(SlideError):
    """The file cannot be opened as a slide."""


class SlideReadError(SlideError):
    """A region of the slide cannot be read."""


class MissingMppError(SlideError):
    """The slide does not say how large its pixels are."""


class NoPlaceError(SlideError):
    """No place on the slide can give the patch that was asked for."""


class StreamStalledError(EosinError):
    """Nothing can be drawn anywhere; the stream must stop."""


class TrainingError(EosinError):
    """A run cannot go on."""


class CollapseError(TrainingError):
    """The model says the same of every tile."""


class InterruptedRunError(EosinError):
    """A run was asked to stop; it has saved, and goes on when it is started again."""

    def __init__(self, *, step: int) -> None:
        when = f", and saved after {step} steps" if step else " before its first step"
        super().__init__(f"asked to stop{when}; give the same command to go on")
        self.step = step

    def __reduce__(self) -> tuple[Callable[[int], "InterruptedRunError"], tuple[int]]:
        """Pickle by the step, so that the error crosses processes."""
        return _interrupted_at, (self.step,)


class MissingDependencyError(EosinError, ImportError):
    """An optional package is needed and not installed."""


def _interrupted_at(step: int) -> InterruptedRunError:
    return InterruptedRunError(step=step)

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
├── WriteError             a file cannot be written, such as on a full disk
├── InterruptedRunError    a run was asked to stop; it has saved and can go on
└── MissingDependencyError an optional package is needed and not installed

A message has three parts: what is wrong, which value, what to do.
"""

import errno
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


class WriteError(EosinError, OSError):
    """A file or folder cannot be written, such as on a full disk."""

    def __init__(self, path: Path | str, reason: str, advice: str = "") -> None:
        super().__init__(f"{path} cannot be written: {reason}" + (f"; {advice}" if advice else ""))
        self.path = str(path)
        self.reason = reason
        self.advice = advice

    def __reduce__(self) -> tuple[type["WriteError"], tuple[str, str, str]]:
        """Pickle by all arguments, so that the error crosses processes."""
        return type(self), (self.path, self.reason, self.advice)


class MissingDependencyError(EosinError, ImportError):
    """An optional package is needed and not installed."""


_WHAT_TO_DO = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file; check it",
    errno.EISDIR: "give a file",
    errno.EACCES: "check who may read and write it and its folder",
    errno.EPERM: "check who may read and write it and its folder",
    errno.ENOSPC: "free some space and start again",
    errno.EDQUOT: "free some space and start again",
    errno.EFBIG: "the disk or a limit of the process (ulimit -f) allows no larger file",
    errno.EROFS: "give a place on another disk",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "links lead in a circle; check them",
    errno.EMFILE: "allow the process more open files (ulimit -n)",
    errno.EIO: "the disk or the network has a fault; try again, and check it if that does not help",
    errno.ESTALE: "the network's disk has lost the file; try again",
}


def system_reason(error: BaseException, *, with_name: bool = False) -> str:
    """Return what the system said in words, without a number; other errors as their text.

    Args:
        error: Whatever a reader or writer of files raises.
        with_name: Begin with the name of the file, where the system has said it.
    """
    if isinstance(error, WriteError):
        return error.reason
    if isinstance(error, OSError) and error.strerror:
        is_named = with_name and isinstance(error.filename, str)
        return f"{Path(error.filename).name}: {error.strerror}" if is_named else error.strerror
    return str(error) or type(error).__name__


def system_advice(error: OSError) -> str:
    """Return what to do about an error of the system; empty where that is not known."""
    return _WHAT_TO_DO.get(error.errno or 0, "")


def _interrupted_at(step: int) -> InterruptedRunError:
    return InterruptedRunError(step=step)

"""Components and configurations as plain JSON values, to store, compare and fingerprint them.

A component is its own configuration (a frozen dataclass), so its class and fields say it all.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from eosin.errors import ConfigError, EosinError, InputError
from eosin.names import escaped, unescaped

TYPE_KEY = "type"
"""Field that holds the class of a component in its plain form."""

_MAX_SHOWN = 80
_LARGEST = 10**300

if TYPE_CHECKING:
    Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
else:
    # A checker at run time cannot follow a name into itself.
    Plain = None | bool | int | float | str | list | dict


def to_plain(value: object) -> Plain:
    """Return a value that JSON can hold and that tells two different settings apart.

    Raises:
        ConfigError: If some part is neither data nor a dataclass, so that it could not be compared.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        if not name.startswith("eosin."):
            # What this program has built itself, it may also read back.
            _REGISTERED[name] = type(value)
        return {TYPE_KEY: name, **fields}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    raise ConfigError(
        f"{value!r} of type {type(value).__name__} cannot be written into a configuration; "
        "make it a frozen dataclass whose fields are plain values"
    )


def from_plain(plain: Plain) -> object:
    """Return the components that `to_plain` wrote down; lists come back as tuples.

    A class is looked up by its name in a closed table of components: eosin's own, and those that
    the running program has registered or written down itself. Nothing else that a file names is
    imported or called, and each value must have the type that its field is declared with.

    Raises:
        InputError: If a class is not in the table, or does not take the values.
    """
    try:
        return _from_plain(plain)
    except RecursionError:
        raise InputError("the settings are nested too deeply to be those of a run") from None


def _from_plain(plain: Plain) -> object:
    if isinstance(plain, list):
        return tuple(_from_plain(item) for item in plain)
    if not isinstance(plain, dict):
        return plain
    values = {key: _from_plain(item) for key, item in plain.items() if key != TYPE_KEY}
    if TYPE_KEY not in plain:
        return values
    component = _component(plain[TYPE_KEY])
    try:
        hints = get_type_hints(component)
    except NameError:  # a class of somebody's, with names that only a type checker knows
        hints = {}
    for name, value in values.items():
        try:
            values[name] = _typed(value, hints.get(name, object))
        except _WrongTypeError:
            raise InputError(
                f"{component.__name__} takes no {name}={_shown(value)}; the settings were changed "
                "by hand, or are of another version of eosin"
            ) from None
    try:
        return component(**values)
    except EosinError:
        raise
    except Exception as error:
        raise InputError(
            f"{component.__name__} does not take the settings that were stored "
            f"({_shown(str(error))}); they are of another version of eosin"
        ) from error


def register_component(component: type) -> type:
    """Let settings that are read name a class of your own, such as a sampler; returns the class.

    Only needed in a program that reads the settings of a run (to report on it, to export it) and
    has not trained it itself. May stand above the class as a decorator.

    Raises:
        ConfigError: If it is no dataclass.
    """
    if not dataclasses.is_dataclass(component):
        raise ConfigError(f"{component.__name__} must be a frozen dataclass to be a component")
    _REGISTERED[f"{component.__module__}.{component.__qualname__}"] = component
    return component


_REGISTERED: dict[str, type] = {}
"""Components of others, by module and name."""

COMPONENTS: Mapping[str, str] = {
    "AlbumentationsTransform": "eosin.transforms.albumentations",
    "AutoBackend": "eosin.backends.auto",
    "BlockMasking": "eosin.masking",
    "CLAMTissueDetector": "eosin.tissue.clam",
    "ColorJitter": "eosin.transforms.jitter",
    "CombinedTissueDetector": "eosin.tissue.combined",
    "ComposeTransforms": "eosin.transforms.base",
    "ContinuousMagnificationSampler": "eosin.sampling.continuous_magnification",
    "DataConfig": "eosin.train.config",
    "DeferredViews": "eosin.views",
    "FaintTissueDetector": "eosin.tissue.faint",
    "GaussianBlur": "eosin.transforms.blur",
    "Grayscale": "eosin.transforms.grayscale",
    "GridSampler": "eosin.sampling.grid",
    "HEDColorAugmentation": "eosin.transforms.hed",
    "HSVPatchFilter": "eosin.filters.hsv",
    "HSVTissueDetector": "eosin.tissue.hsv",
    "HeadConfig": "eosin.models.config",
    "ImageBackend": "eosin.backends.image",
    "LossConfig": "eosin.train.config",
    "MagnificationRule": "eosin.geometry",
    "MaskFolder": "eosin.tissue.folder",
    "MppPolicy": "eosin.backends.mpp",
    "MultiMagnificationSampler": "eosin.sampling.multi_magnification",
    "NormalizeTransform": "eosin.transforms.normalize",
    "OpenSlideBackend": "eosin.backends.openslide",
    "OptimConfig": "eosin.train.config",
    "OtsuTissueDetector": "eosin.tissue.otsu",
    "PenFreeDetector": "eosin.tissue.pen",
    "RandomApply": "eosin.transforms.random_apply",
    "RandomFlipRotate": "eosin.transforms.flip",
    "RandomResizedCrop": "eosin.views",
    "RandomSampler": "eosin.sampling.random",
    "ResizeTransform": "eosin.transforms.resize",
    "ScannedAreaDetector": "eosin.tissue.scanned",
    "SlideWeights": "eosin.catalog.weights",
    "Solarize": "eosin.transforms.solarize",
    "SyntheticBackend": "eosin.backends.synthetic",
    "TeacherConfig": "eosin.train.config",
    "TiffBackend": "eosin.backends.tiff",
    "TrainConfig": "eosin.train.config",
    "ViTConfig": "eosin.models.config",
    "ViewConfig": "eosin.views",
    "Watch": "eosin.watch.settings",
}
"""Where each component of eosin is. Its name is enough: runs stay readable when it moves."""


def _component(named: object) -> type:
    if not isinstance(named, str):
        raise InputError(f"the settings name {_shown(named)} where the name of a class belongs")
    if named in _REGISTERED:
        return _REGISTERED[named]
    module_name, _, class_name = named.rpartition(".")
    if class_name in COMPONENTS and module_name.split(".")[0] in ("eosin", ""):
        found: type = getattr(importlib.import_module(COMPONENTS[class_name]), class_name)
        return found
    raise InputError(
        f"the settings hold {_shown(named)}, which is no component of eosin; if it is a class of "
        "yours, call eosin.plain.register_component with it before they are read"
    )


class _WrongTypeError(Exception):
    """A stored value is none that its field holds."""


def _typed(value: object, hint: Any) -> object:  # noqa: ANN401 - whatever an annotation is
    """Return a value that was read from JSON as the type of its field; JSON has one kind of number.

    Raises:
        _WrongTypeError: If it is none.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    kind = origin or hint
    if origin is Annotated:
        return _typed(value, arguments[0])
    if origin in (Union, UnionType):
        for one in arguments:
            with contextlib.suppress(_WrongTypeError):
                return _typed(value, one)
        raise _WrongTypeError
    if hint is float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _WrongTypeError
        if not (abs(value) < _LARGEST or math.inf in (value, -value)):  # NaN too
            raise _WrongTypeError
        return float(value)
    if kind in (tuple, list, Sequence, frozenset, set) and isinstance(value, tuple):
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise _WrongTypeError
            return tuple(map(_typed, value, arguments))
        return tuple(_typed(one, arguments[0]) for one in value) if arguments else value
    if kind in (Mapping, dict) and isinstance(value, dict):
        each = arguments[1] if arguments else object
        return {key: _typed(one, each) for key, one in value.items()}
    if origin is Literal:
        is_right = any(value == one and type(value) is type(one) for one in arguments)
    elif hint is int:
        is_right = isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(kind, type) and issubclass(kind, PurePath):
        is_right = isinstance(value, str)
    else:
        is_right = not isinstance(kind, type) or isinstance(value, kind)
    if not is_right:
        raise _WrongTypeError
    return value


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def to_json(value: object, indent: int | None = None) -> str:
    """Return plain values as JSON whose texts are `escaped`, so that any parser takes them."""
    return json.dumps(_with_texts(value, escaped), indent=indent)


def from_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return the values that `to_json` wrote, or those of any other JSON.

    Raises:
        ValueError: If it is no JSON, or nested too deeply.
    """
    try:
        return _with_texts(json.loads(text), unescaped)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _with_texts(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_with_texts(key, change): _with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(item, change) for item in value]
    return value


def fingerprint(value: object) -> str:
    """Return 16 hexadecimal digits that change when any setting changes."""
    text = json.dumps(to_plain(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Plain, new: Plain, name: str = "") -> Iterator[str]:
    """Yield one line per setting that differs, by its dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            below = f"{name}.{key}" if name else key
            yield from differences(old.get(key), new.get(key), below)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{name}.{position}")
    elif old != new:
        yield f"{name}: was {old!r}, now {new!r}"

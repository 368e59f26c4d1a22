"""Components and configurations as plain JSON values, to store, compare and fingerprint them.

A component is its own configuration (a frozen dataclass), so its class and fields say it all.
"""

import dataclasses
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from eosin.errors import ConfigError, InputError
from eosin.names import escaped, unescaped

TYPE_KEY = "type"
"""Field that holds the class of a component in its plain form."""

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
        return {TYPE_KEY: f"{type(value).__module__}.{type(value).__qualname__}", **fields}
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

    Classes are found by the modules they are in, eosin's own or ones that are already imported.

    Raises:
        InputError: If a class is not there, or does not take the values.
    """
    if isinstance(plain, list):
        return tuple(from_plain(item) for item in plain)
    if not isinstance(plain, dict):
        return plain
    values = {key: from_plain(item) for key, item in plain.items() if key != TYPE_KEY}
    if TYPE_KEY not in plain:
        return values
    component = _find_class(str(plain[TYPE_KEY]))
    try:
        built: object = component(**values)
    except TypeError as error:
        raise InputError(
            f"{component.__name__} does not take the settings that were stored ({error}); they "
            "are of another version of eosin"
        ) from error
    return built


def _find_class(full_name: str) -> type:
    module_name, _, class_name = full_name.rpartition(".")
    try:
        if module_name.startswith("eosin."):
            importlib.import_module(module_name)
        found: type = getattr(sys.modules[module_name], class_name)
    except (ImportError, KeyError, AttributeError) as error:
        raise InputError(
            f"the settings hold a {full_name}, which is not there; import its module first, or "
            "use the version of eosin that wrote them"
        ) from error
    # A file must not name any other callable that happens to be imported.
    if not dataclasses.is_dataclass(found):
        raise InputError(f"the settings hold a {full_name}, which is no component")
    return found


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

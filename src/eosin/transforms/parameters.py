"""What a transform drew, as plain values: small, stored in manifests, replayed anywhere.

The readers here check what they find, because parameters come back from files.
"""

from collections.abc import Mapping

from eosin.errors import InputError
from eosin.plain import Plain

Parameters = Mapping[str, Plain]
"""JSON survives it unchanged: numbers, truths, texts, and lists and dictionaries of them."""


def read_number(parameters: Parameters, name: str) -> int | float:
    """Return a number that was drawn; truths count as 0 and 1."""
    value = parameters.get(name)
    if not isinstance(value, int | float):
        raise _not_there(parameters, name, "number")
    return value


def read_numbers(parameters: Parameters, name: str) -> list[int | float]:
    """Return a list of numbers that were drawn."""
    value = parameters.get(name)
    if not isinstance(value, list):
        raise _not_there(parameters, name, "list of numbers")
    numbers = [item for item in value if isinstance(item, int | float)]
    if len(numbers) != len(value):
        raise _not_there(parameters, name, "list of numbers")
    return numbers


def read_nested(parameters: Parameters, name: str) -> dict[str, Plain]:
    """Return the parameters of a part."""
    value = parameters.get(name)
    if not isinstance(value, dict):
        raise _not_there(parameters, name, "dictionary")
    return value


def read_steps(parameters: Parameters, name: str) -> list[dict[str, Plain]]:
    """Return the parameters of parts that follow each other."""
    value = parameters.get(name)
    if not isinstance(value, list):
        raise _not_there(parameters, name, "list of dictionaries")
    steps = [item for item in value if isinstance(item, dict)]
    if len(steps) != len(value):
        raise _not_there(parameters, name, "list of dictionaries")
    return steps


def _not_there(parameters: Parameters, name: str, kind: str) -> InputError:
    return InputError(
        f"the drawn parameters {str(dict(parameters))[:200]} have no {kind} {name!r}; replay them "
        "with the transform and the version of eosin that drew them"
    )

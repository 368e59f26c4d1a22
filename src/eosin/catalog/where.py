"""Conditions on slides, such as `section == 'DX' and mpp_x < 0.3`: a small language, and safe.

Written like Python: == != < <= > >=, in (...), not in, and, or, not, parentheses, `organ is
missing`, `is not missing`, a column of truth values by its name, and `held_out(0.1)` or
`held_out(0.1, seed)`. A slide without a value is equal to nothing and neither below nor above
anything. Parsed by Python's parser and walked over what is listed here; nothing is run.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import final

from eosin.catalog.entry import SlideEntry, Value
from eosin.catalog.held_out import is_held_out
from eosin.catalog.table import columns_hint
from eosin.errors import ConfigError

_MISSING = "missing"
_MAX_SHOWN = 200
"""Characters of a condition that a message repeats."""
_EXAMPLE = "write it like \"section == 'DX' and mpp_x < 0.3\""

_Read = Callable[[SlideEntry], Value]
_Test = Callable[[SlideEntry], bool]
_ORDERINGS: dict[type[ast.cmpop], Callable[[float | str, float | str], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def select(
    entries: Sequence[SlideEntry], where: str, columns: Collection[str]
) -> tuple[SlideEntry, ...]:
    """Return the slides that a condition holds for, in their order.

    Args:
        entries: The slides.
        where: The condition.
        columns: Names it may use; `path` and `name` may always be used. A name with blanks or
            other signs in it is written with `_` for each of them.

    Raises:
        ConfigError: If the condition cannot be understood, names no column, or compares a column
            with what it never holds.
    """
    try:
        with warnings.catch_warnings():
            # Of what is odd in Python, such as `1in (1, 2)`.
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(where.strip(), mode="eval")
        holds = _Condition(where, frozenset(columns) | {"path", "name"}).test(tree.body)
        return tuple(entry for entry in entries if holds(entry))
    except (SyntaxError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise ConfigError(
            f"where={_shown(where)} cannot be understood ({reason}); {_EXAMPLE}"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ConfigError(
            f"where={_shown(where)} is nested too deeply; write it with fewer parentheses and nots"
        ) from error


@final
@dataclass(frozen=True, slots=True)
class _Condition:
    """The text of a condition and its columns, to turn its parts into functions of a slide."""

    text: str
    columns: frozenset[str]

    def test(self, node: ast.expr) -> _Test:
        """Return the function that says whether a part of the condition holds."""
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                parts = [self.test(value) for value in values]
                return lambda entry: all(part(entry) for part in parts)
            case ast.BoolOp(values=values):
                parts = [self.test(value) for value in values]
                return lambda entry: any(part(entry) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                negated = self.test(operand)
                return lambda entry: not negated(entry)
            case ast.Compare(left=left, ops=ops, comparators=rights):
                lefts = [left, *rights[:-1]]
                links = [self._link(*link) for link in zip(lefts, ops, rights, strict=True)]
                return lambda entry: all(link(entry) for link in links)
            case ast.Call(func=ast.Name(id="held_out"), args=args, keywords=[]):
                return self._held_out([self._literal(arg) for arg in args])
            case ast.Name(id=name):
                return self._truth(name)
        raise self._refusal(node, "is no condition")

    def _link(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Test:
        read = self._value(left)
        match op, right:
            case ((ast.Is() | ast.IsNot()), ast.Name(id=name)) if name == _MISSING:
                wanted = isinstance(op, ast.Is)
                return lambda entry: (read(entry) is None) == wanted
            case ((ast.In() | ast.NotIn()), ast.Tuple() | ast.List() | ast.Set()):
                options = [self._literal(item) for item in right.elts]
                wanted = isinstance(op, ast.In)
                return lambda entry: self._is_any(read(entry), options) == wanted
            case ((ast.Eq() | ast.NotEq()), _):
                other = self._value(right)
                wanted = isinstance(op, ast.Eq)
                return lambda entry: self._is_any(read(entry), [other(entry)]) == wanted
        compare = _ORDERINGS.get(type(op))
        if compare is None:
            raise self._refusal(right, "cannot stand after `is` or `in`")
        other = self._value(right)
        return lambda entry: self._is_ordered(compare, read(entry), other(entry))

    def _is_any(self, value: Value, options: Sequence[Value]) -> bool:
        for option in options:
            if value is not None and option is not None:
                self._check_kinds(value, option)
                if value == option:
                    return True
        return False

    def _is_ordered(
        self, compare: Callable[[float | str, float | str], bool], value: Value, other: Value
    ) -> bool:
        if value is None or other is None:
            return False
        self._check_kinds(value, other)
        return compare(value, other)

    def _check_kinds(self, value: Value, other: Value) -> None:
        # A comparison that can never hold is a slip, such as quotes around a number.
        if _kind(value) != _kind(other):
            raise ConfigError(
                f"where={_shown(self.text)} compares {_kind(value)} ({value!r}) with "
                f"{_kind(other)} ({other!r}); write text in quotes and numbers without"
            )

    def _truth(self, name: str) -> _Test:
        read = self._column(name)

        def is_true(entry: SlideEntry) -> bool:
            value = read(entry)
            if value is not None:
                self._check_kinds(value, True)
            return value is True

        return is_true

    def _held_out(self, args: Sequence[Value]) -> _Test:
        match args:
            case [float(fraction)] if 0 <= fraction <= 1:
                return lambda entry: is_held_out(entry, fraction)
            case [float(fraction), float(seed)] if 0 <= fraction <= 1 and seed.is_integer():
                return lambda entry: is_held_out(entry, fraction, int(seed))
        raise ConfigError(
            f"where={_shown(self.text)}: held_out takes a share from 0 to 1 and, if you like, a "
            "whole number as seed, such as held_out(0.1) or held_out(0.1, 7)"
        )

    def _value(self, node: ast.expr) -> _Read:
        if isinstance(node, ast.Name):
            return self._column(node.id)
        literal = self._literal(node)
        return lambda entry: literal

    def _literal(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool() | str() as value):
                return value
            case ast.Constant(value=int() | float() as value):
                return self._number(node, value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -self._number(node, value)
        raise self._refusal(node, "is neither a column nor a text, a number, True or False")

    def _number(self, node: ast.expr, value: int | float) -> float:
        try:
            return float(value)
        except OverflowError as error:
            raise self._refusal(node, "is larger than any number of a table") from error

    def _column(self, name: str) -> _Read:
        alike = [c for c in self.columns if c == name] or [
            c for c in self.columns if re.sub(r"\W", "_", c) == name
        ]
        if len(alike) != 1:
            hint = columns_hint(name, self.columns)
            raise ConfigError(
                f"where={_shown(self.text)} names {name!r}, which is no column; {hint}"
            )
        column = alike[0]
        if column in ("path", "name"):
            return lambda entry: entry.path if column == "path" else entry.name
        return lambda entry: entry.metadata.get(column)

    def _refusal(self, node: ast.expr, why: str) -> ConfigError:
        part = ast.get_source_segment(self.text.strip(), node) or "a part of it"
        short = part if len(part) <= _MAX_SHOWN else f"{part[:_MAX_SHOWN]}..."
        return ConfigError(f"where={_shown(self.text)}: {short} {why}; {_EXAMPLE}")


def _shown(where: str) -> str:
    return repr(where) if len(where) <= _MAX_SHOWN else f"{where[:_MAX_SHOWN]!r}..."


def _kind(value: Value) -> str:
    kinds = {bool: "a truth value", str: "text"}
    return kinds.get(type(value), "a number")

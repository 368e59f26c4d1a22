"""Microns per pixel: where they come from, and what to do when no source is right.

A table that the user gives goes first, then what the file says in the order of trust: the scanner's
own value, the TIFF resolution, and last the objective's power, from which it is only inferred.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, final

from eosin.errors import ConfigError, InputError
from eosin.geometry import MPP_ADVICE, Mpp

SANE_MPP = (0.05, 20.0)
"""Microns per level-0 pixel that a microscope slide can have; other values are errors in files."""

_UM_OF_OBJECTIVE = 10.0
"""An objective of 40x and its camera give about 0.25 um/px, one of 20x about 0.5."""

_MAX_CONTRADICTION = 5.0
"""Factor by which a scanner's value and the objective may differ: adapters make up to 3."""


class MppHint(NamedTuple):
    """What one source says, as text or numbers; not yet believed."""

    source: str
    x: str | float
    y: str | float


MissingMpp = Literal["skip", "assume", "raise"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MppPolicy:
    """Decides how large the level-0 pixels of a slide are."""

    overrides: Mapping[str, float] = field(default_factory=dict)
    """Microns per level-0 pixel by file name or full path; go before what the file says."""
    missing: MissingMpp = "skip"
    """For a slide that gives no usable value: leave it out with the reason, take `assumed_mpp`, or
    stop everything."""
    assumed_mpp: float | None = None
    """Used with `missing='assume'`."""
    infer_from_objective: bool = True
    """Whether an objective's power will do when there is nothing better (40x means 0.25)."""

    def __post_init__(self) -> None:
        for name, mpp in self.overrides.items():
            if not _is_sane(mpp):
                raise ConfigError(
                    f"mpp_overrides[{name!r}]={mpp} is outside {SANE_MPP[0]} to {SANE_MPP[1]} um/px"
                )
        if self.missing not in ("skip", "assume", "raise"):
            raise ConfigError(f"missing={self.missing!r} is not one of 'skip', 'assume', 'raise'")
        if (self.missing == "assume") != (self.assumed_mpp is not None):
            raise ConfigError(
                f"missing={self.missing!r} and assumed_mpp={self.assumed_mpp} do not fit: "
                "assumed_mpp belongs to missing='assume'"
            )
        if self.assumed_mpp is not None and not _is_sane(self.assumed_mpp):
            raise ConfigError(
                f"assumed_mpp={self.assumed_mpp} is outside {SANE_MPP[0]} to {SANE_MPP[1]} um/px"
            )

    def decide(
        self, path: Path | str, hints: Sequence[MppHint], objective_power: str | float | None
    ) -> tuple[Mpp | None, str]:
        """Return the level-0 microns per pixel and their source, or None and why there are none.

        Raises:
            InputError: If there are none and the policy says raise.
        """
        name = str(path).rsplit("/", 1)[-1]
        override = self.overrides.get(str(path), self.overrides.get(name))
        if override is not None:
            return Mpp(override, override), "override"
        power = _number(objective_power)
        objections = []
        for hint in hints:
            mpp = Mpp(_number(hint.x), _number(hint.y))
            objection = _objection(hint, mpp, power)
            if objection is None:
                return mpp, hint.source
            objections.append(objection)
        inferred = _UM_OF_OBJECTIVE / power if power > 0 else math.nan
        if self.infer_from_objective and _is_sane(inferred):
            return Mpp(inferred, inferred), f"inferred from the objective ({power:g}x)"
        reason = "; ".join(dict.fromkeys(objections)) or "does not say its microns per pixel"
        return self._without(path, reason)

    def _without(self, path: Path | str, reason: str) -> tuple[Mpp | None, str]:
        if self.missing == "raise":
            raise InputError(f"{path}: {reason}; {MPP_ADVICE}")
        if self.assumed_mpp is not None:
            return Mpp(self.assumed_mpp, self.assumed_mpp), f"assumed ({reason})"
        return None, reason


def resolution_hint(x: float, y: float, unit: str) -> list[MppHint]:
    """Return what TIFF resolution tags say: pixels per `inch` or `centimeter`, or nothing.

    The 72 or 96 dots per inch that programs write by default come to more than 200 um/px, which the
    sanity limits refuse.
    """
    um_of_unit = {"inch": 25_400.0, "centimeter": 10_000.0}.get(unit)
    if um_of_unit is None or x <= 0 or y <= 0:
        return []
    return [MppHint("tiff.XResolution", um_of_unit / x, um_of_unit / y)]


def _objection(hint: MppHint, mpp: Mpp, objective_power: float) -> str | None:
    """Return why a hint is not believed, or None."""
    if any(math.isnan(value) for value in mpp):
        return f"says {hint.x} x {hint.y} microns per pixel, which are no numbers"
    if not all(_is_sane(value) for value in mpp):
        return f"says {mpp.x:g} x {mpp.y:g} microns per pixel, which no slide has"
    if objective_power > 0:
        factor = mpp.mean * objective_power / _UM_OF_OBJECTIVE
        if not 1 / _MAX_CONTRADICTION <= factor <= _MAX_CONTRADICTION:
            return (
                f"says {mpp.mean:g} microns per pixel and an objective of {objective_power:g}x, "
                "which contradict each other"
            )
    return None


def _number(value: str | float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except ValueError:
        return math.nan


def _is_sane(mpp: float) -> bool:
    return SANE_MPP[0] <= mpp <= SANE_MPP[1]

"""Microns per pixel: where they come from, and what to do when no source is right.

A table that the user gives goes first, then what the file says in the order of trust: the scanner's
own value, the TIFF resolution, and last the objective's power, from which it is only inferred.

A stated value is believed when such a scanner can have it and the objective does not contradict it
(see `BOUNDS`). What is believed but unusual, or said otherwise by another source, is a note on the
slide, for a person to look at. Where values are stated and none can be believed, the slide is
refused rather than guessed at.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, final

from eosin.errors import ConfigError, InputError
from eosin.geometry import MPP_ADVICE, Mpp

SANE_MPP = (0.05, 20.0)
"""Microns per level-0 pixel that may be said by hand; other values are slips of the keyboard."""

_NONSENSE_MPP = (0.01, 50.0)
"""Outside it a value is no statement at all, such as the 353 um/px of 72 dots per inch, or 0."""


class Bounds(NamedTuple):
    """Microns per level-0 pixel of one kind of file."""

    least: float
    least_usual: float
    most_usual: float
    most: float


_SCANNER = Bounds(0.09, 0.15, 1.1, 2.2)
"""Objectives of slide scanners: 100x oil gives 0.1 um/px, 40x 0.25, 20x 0.5, 10x 1, 5x 2 (Aperio,
Hamamatsu, Leica, 3DHISTECH and Philips data sheets)."""

BOUNDS: Mapping[str, Bounds] = {
    **dict.fromkeys(
        (
            *("aperio", "hamamatsu", "leica", "mirax", "philips", "sakura", "trestle"),
            *("ventana", "zeiss", "dicom"),
        ),
        _SCANNER,
    ),
    "": Bounds(0.08, 0.1, 2.2, 10.0),
}
"""By the vendor of the file; "" is anything else, which may be a copy of lower resolution."""

_MAX_SIDES_MM = (55.0, 110.0)
"""Sides of what can lie on glass: the largest slides are 52 x 76 mm, or 25 x 110."""

_UM_OF_OBJECTIVE = 10.0
"""An objective of 40x and its camera give about 0.25 um/px, one of 20x about 0.5."""

_MAX_CONTRADICTION = 3.5
"""Factor by which a scanner's value and the objective may differ: adapters make up to 3."""

_NOTED_DIFFERENCE = 1.1
"""Factor between two sources from which on it is said."""

_NOTED_OBLONG = 1.02
"""Factor between the sides of a pixel from which on it is said."""

_UNITS_UM = {
    **dict.fromkeys(("", "um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1.0),
    **dict.fromkeys(("mpp", "um/px", "µm/px", "μm/px", "um/pixel", "µm/pixel", "μm/pixel"), 1.0),
    **dict.fromkeys(("microns/pixel", "microns per pixel"), 1.0),
    **{"nm": 1e-3, "nm/px": 1e-3, "mm": 1e3},
}
_SPELLING = re.compile(r"([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?)\s*(.*)", re.DOTALL)


def microns(value: str | float | None) -> float:
    """Return a length in microns, from a number or text such as `0.25`, `0,25` or `250 nm`.

    Returns:
        NaN where it is none.
    """
    if isinstance(value, str):
        found = _SPELLING.fullmatch(value.strip().strip("\0").strip())
        factor = None if found is None else _UNITS_UM.get(found.group(2).strip().lower())
        if found is None or factor is None:
            return math.nan
        value = float(found.group(1).replace(",", ".")) * factor
    return math.nan if value is None else float(value)


def magnification(value: str | float | None) -> float:
    """Return the power of an objective, from a number or text such as `20`, `20x` or `20,0 X`.

    Returns:
        NaN where it is none.
    """
    return microns(value.strip().rstrip("xX\u00d7") if isinstance(value, str) else value)


class MppHint(NamedTuple):
    """What one source says, as text or numbers; not yet believed."""

    source: str
    x: str | float
    y: str | float


class DecidedMpp(NamedTuple):
    """How large the pixels of a slide are."""

    mpp: Mpp | None
    """Microns per level-0 pixel, None where nothing can be believed."""
    source: str
    """Where it is from, or why there is none."""
    notes: tuple[str, ...] = ()
    """What a person should look at."""


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
        self,
        path: Path | str,
        hints: Sequence[MppHint],
        objective_power: str | float | None,
        *,
        vendor: str = "",
        size_l0: tuple[int, int] | None = None,
    ) -> DecidedMpp:
        """Return the level-0 microns per pixel, their source, and what looks odd about them.

        Args:
            path: Of the slide.
            hints: What the file says, in the order of trust.
            objective_power: Of the scanner, if known.
            vendor: Decides which values are plausible; see `BOUNDS`.
            size_l0: Width and height of the slide in level-0 pixels, if known.

        Raises:
            InputError: If there is no value and the policy says raise.
        """
        power = magnification(objective_power)
        stated = [(hint, Mpp(microns(hint.x), microns(hint.y))) for hint in hints]
        name = str(path).rsplit("/", 1)[-1]
        override = self.overrides.get(str(path), self.overrides.get(name))
        if override is not None:
            mpp = Mpp(override, override)
            notes = _other_sources(mpp, "your own value", stated, power, vendor)
            return DecidedMpp(mpp, "override", notes)
        objections: list[tuple[str, str]] = []
        is_contradicted = False
        for hint, mpp in stated:
            objection = _objection(hint, mpp, power, vendor, size_l0)
            if objection is None:
                notes = (
                    *(f"{by} {why}, and {hint.source} is taken" for by, why in objections),
                    *_oddities(mpp, vendor),
                    *_other_sources(mpp, hint.source, stated, power, vendor),
                )
                return DecidedMpp(mpp, hint.source, notes)
            objections.append((hint.source, objection))
            least, most = _NONSENSE_MPP
            is_contradicted |= all(least <= value <= most for value in mpp)
        inferred = _UM_OF_OBJECTIVE / power if power > 0 else math.nan
        if self.infer_from_objective and _is_sane(inferred) and not is_contradicted:
            source = f"inferred from the objective ({power:g}x)"
            notes = tuple(f"{by} {why}" for by, why in objections)
            return DecidedMpp(Mpp(inferred, inferred), source, notes)
        reason = (
            "; ".join(dict.fromkeys(why for _, why in objections))
            or "does not say its microns per pixel"
        )
        return self._without(path, reason)

    def _without(self, path: Path | str, reason: str) -> DecidedMpp:
        if self.missing == "raise":
            raise InputError(f"{path}: {reason}; {MPP_ADVICE}")
        if self.assumed_mpp is not None:
            mpp = Mpp(self.assumed_mpp, self.assumed_mpp)
            return DecidedMpp(mpp, f"assumed ({reason})")
        return DecidedMpp(None, reason)


def resolution_hint(x: float, y: float, unit: str) -> list[MppHint]:
    """Return what TIFF resolution tags say: pixels per `inch` or `centimeter`, or nothing.

    The 72 or 96 dots per inch that programs write by default come to more than 200 um/px, which the
    sanity limits refuse.
    """
    um_of_unit = {"inch": 25_400.0, "centimeter": 10_000.0}.get(unit)
    if um_of_unit is None or not (x > 0 and y > 0):
        return []
    return [MppHint("tiff.XResolution", um_of_unit / x, um_of_unit / y)]


def _objection(
    hint: MppHint, mpp: Mpp, power: float, vendor: str, size_l0: tuple[int, int] | None
) -> str | None:
    """Return why a stated value is not believed, or None."""
    bounds = BOUNDS.get(vendor, BOUNDS[""])
    if any(math.isnan(value) for value in mpp):
        return f"says {hint.x} x {hint.y} microns per pixel, which are no numbers"
    if not all(bounds.least <= value <= bounds.most for value in mpp):
        return f"says {mpp.x:g} x {mpp.y:g} microns per pixel, which no slide has"
    if size_l0 is not None:
        sides_mm = sorted(size * one / 1000 for size, one in zip(size_l0, mpp, strict=True))
        if any(side > most for side, most in zip(sides_mm, _MAX_SIDES_MM, strict=True)):
            return (
                f"says {mpp.mean:g} microns per pixel, at which the slide would be "
                f"{sides_mm[0]:.0f} x {sides_mm[1]:.0f} mm large"
            )
    if power > 0:
        factor = mpp.mean * power / _UM_OF_OBJECTIVE
        if not 1 / _MAX_CONTRADICTION <= factor <= _MAX_CONTRADICTION:
            return (
                f"says {mpp.mean:g} microns per pixel and an objective of {power:g}x, which "
                "contradict each other"
            )
    return None


def _oddities(mpp: Mpp, vendor: str) -> list[str]:
    bounds = BOUNDS.get(vendor, BOUNDS[""])
    notes = []
    if not all(bounds.least_usual <= value <= bounds.most_usual for value in mpp):
        notes.append(f"its {mpp.mean:g} um/px are unusual")
    if max(mpp) > min(mpp) * _NOTED_OBLONG:
        notes.append(f"its pixels are oblong ({mpp.x:g} x {mpp.y:g} um)")
    return notes


def _other_sources(
    mpp: Mpp,
    source: str,
    stated: Sequence[tuple[MppHint, Mpp]],
    power: float,
    vendor: str,
) -> tuple[str, ...]:
    """Return which sources say something else than the one that was taken."""
    others = [
        (f"{hint.source} says {other.mean:g}", other.mean)
        for hint, other in stated
        if hint.source != source and _objection(hint, other, math.nan, vendor, None) is None
    ]
    if power > 0:
        usual = _UM_OF_OBJECTIVE / power
        others.append((f"its objective of {power:g}x usually gives {usual:g}", usual))
    return tuple(
        f"{text} um/px, and {source} ({mpp.mean:g}) is taken"
        for text, value in others
        if max(value / mpp.mean, mpp.mean / value) > _NOTED_DIFFERENCE
    )


def _is_sane(mpp: float) -> bool:
    return SANE_MPP[0] <= mpp <= SANE_MPP[1]

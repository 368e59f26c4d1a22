"""Axes of a chart: from values to pixels, with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

Number = float | int
"""A step is an int; run-time checks in tests take `float` at its word."""

ROUND = (1.0, 2.0, 5.0, 10.0)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """Map values to pixels."""

    low: Number
    high: Number
    start_px: Number
    end_px: Number
    is_log: bool = False

    @classmethod
    def around(
        cls,
        values: Sequence[Number],
        ends_px: tuple[Number, Number],
        *,
        is_log: bool = False,
        margin: Number = 0.05,
    ) -> "Axis":
        """Return an axis that holds finite values with a margin, a share of their range.

        Values that are all the same get some room on both sides.
        """
        low, high = min(values), max(values)
        if is_log:
            low, high = math.log10(low), math.log10(high)
        room = margin * (high - low)
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            room = 0.5 if is_log or low == 0 else 0.1 * abs(low)
        low, high = low - room, high + room
        if is_log:
            low, high = 10**low, 10**high
        return cls(low=low, high=high, start_px=ends_px[0], end_px=ends_px[1], is_log=is_log)

    def place(self, value: Number) -> float:
        """Return the pixel of a value."""
        low, high, at = (self._scaled(number) for number in (self.low, self.high, value))
        return self.start_px + (at - low) / (high - low) * (self.end_px - self.start_px)

    def ticks(self, count: int) -> list[float]:
        """Return about so many round values within the axis."""
        if self.is_log:
            ticks = _log_ticks(self.low, self.high, count)
            if len(ticks) >= 2:
                return ticks
        return _linear_ticks(self.low, self.high, count)

    def _scaled(self, value: Number) -> float:
        return math.log10(value) if self.is_log else float(value)


def number_label(value: Number) -> str:
    """Return a tick's number, short: 20k, 1.5M, 1e-5."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        mantissa, exponent = f"{size:.3e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    elif size >= 1e6:
        text = f"{size / 1e6:.6g}M"
    elif size >= 1e4:
        text = f"{size / 1e3:.6g}k"
    else:
        text = f"{size:.6g}"
    return f"\u2212{text}" if value < 0 else text


def _linear_ticks(low: Number, high: Number, count: int) -> list[float]:
    coarse = (high - low) / count
    power = 10.0 ** math.floor(math.log10(coarse))
    step = next(power * factor for factor in ROUND if power * factor >= coarse * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(low: Number, high: Number, count: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, math.ceil((last - first) / (2 * count)))
    factors = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
    ticks = [f * 10.0**power for power in range(first, last + 1, stride) for f in factors]
    return [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]

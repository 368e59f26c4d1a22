"""What a run measured, thinned while it is read: a long run's metrics do not fit into a page.

metrics.jsonl is read once, in blocks; of each metric only some hundred bins of steps are kept, each
with its mean and its extremes. The run may be writing to the file meanwhile.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from pyarrow.json import read_json

from eosin.report.axis import Number
from eosin.report.charts import Series

MAX_BINS = 1024
"""Of one metric; a chart has fewer columns than half of them."""

_BLOCK_BYTES = 2**23

Record = Mapping[str, object]


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """One metric over steps, in bins of neighbouring steps; bins without a record are left out."""

    steps: Float[np.ndarray, " bins"]
    """Mean of the steps that were recorded."""
    mean: Float[np.ndarray, " bins"]
    """Over the finite values; NaN where there was none."""
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    counts: Int[np.ndarray, " bins"]
    """Finite values."""
    newest: Number
    """The last value, finite or not."""

    @property
    def total(self) -> float:
        """Sum of all finite values."""
        has = self.counts > 0
        return float(self.mean[has] @ self.counts[has])

    def recent_mean(self, share: float = 0.05) -> float:
        """Return the mean over the last bins, a share of all of them; NaN without a value."""
        last = max(1, round(share * len(self.steps)))
        counts, means = self.counts[-last:], np.nan_to_num(self.mean[-last:])
        return float(means @ counts / counts.sum()) if counts.sum() else float("nan")

    def series(self, name: str) -> Series:
        """Return what a chart draws."""
        return Series(
            name=name,
            x=tuple(self.steps.tolist()),
            y=tuple(self.mean.tolist()),
            low=tuple(self.low.tolist()),
            high=tuple(self.high.tolist()),
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class History:
    """All metrics of a run."""

    curves: Mapping[str, Curve]
    num_records: int
    num_damaged: int
    """Lines that hold no record, beside one at the end that is being written."""
    last_step: int
    """-1 when no step is done."""


def read_history(path: Path, *, max_bins: int = MAX_BINS) -> History:
    """Return what a file of records says, one JSON object a line with its `step`.

    A file that is missing has no records. Values that are no numbers are left out.
    """
    bins: dict[str, _Bins] = {}
    num_records, num_damaged, last_step = 0, 0, -1
    for lines in _blocks(path):
        table, num_lines = _parsed(lines)
        num_records += table.num_rows
        num_damaged += num_lines - table.num_rows
        if not table.num_rows:
            continue
        steps = table["step"].to_numpy()
        last_step = max(last_step, int(steps.max()))
        for name in table.column_names:
            column = table[name]
            if name == "step" or not _holds_numbers(column.type):
                continue
            has = column.is_valid().to_numpy()
            if has.any():
                numbers = column.drop_null().to_numpy().astype(np.float64)
                bins.setdefault(name, _Bins(max_bins)).add(steps[has], numbers)
    return History(
        curves={name: one.curve() for name, one in bins.items()},
        num_records=num_records,
        num_damaged=num_damaged,
        last_step=last_step,
    )


def read_lines(path: Path) -> list[Record]:
    """Return the objects of a short file of JSON lines; none if it is missing.

    Lines that are damaged, or being written, are left out.
    """
    return [record for block in _blocks(path) for record in _objects(block)]


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield whole lines; what stands after the last line's end counts if it is a whole object."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    rest = b""
    with file:
        while block := file.read(_BLOCK_BYTES):
            whole, end, rest = (rest + block).rpartition(b"\n")
            if end:
                yield whole + end
    if _objects(rest):
        yield rest


def _parsed(lines: bytes) -> tuple[pa.Table, int]:
    """Return the records of some lines, and how many lines they were."""
    num_lines = lines.count(b"\n") or 1
    try:
        table = read_json(BytesIO(lines))
        if "step" in table.column_names and pa.types.is_integer(table["step"].type):
            return table.filter(table["step"].is_valid()), num_lines
    except pa.ArrowInvalid:
        # Some line is damaged, or a name holds values of several kinds.
        pass
    records = [record for record in _objects(lines) if isinstance(record.get("step"), int)]
    names = {name for record in records for name in record} | {"step"}
    columns = {name: [_number(record.get(name)) for record in records] for name in names - {"step"}}
    steps = pa.array([record["step"] for record in records], pa.int64())
    return pa.table({"step": steps, **columns}), num_lines


def _objects(lines: bytes) -> list[Record]:
    found: list[Record] = []
    for line in lines.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, float | int) else None


def _holds_numbers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


@final
class _Bins:
    """Bins of steps that widen as steps come, so that there are never more than so many."""

    def __init__(self, max_bins: int) -> None:
        self._width = 1
        self._newest = (-1, float("nan"))
        self._seen = np.zeros(max_bins, np.int64)
        self._finite = np.zeros(max_bins, np.int64)
        self._steps = np.zeros(max_bins)
        self._sum = np.zeros(max_bins)
        self._low = np.full(max_bins, np.inf)
        self._high = np.full(max_bins, -np.inf)

    def add(self, steps: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> None:
        if (steps[1:] < steps[:-1]).any():
            order = np.argsort(steps, kind="stable")
            steps, values = steps[order], values[order]
        while steps.max() >= self._width * len(self._seen):
            self._widen()
        last = int(steps.argmax())
        if steps[last] > self._newest[0]:
            self._newest = (int(steps[last]), float(values[last]))
        places = steps // self._width
        bins, starts, counts = _stretches(places)
        self._seen[bins] += counts
        self._steps[bins] += np.add.reduceat(steps, starts)
        is_finite = np.isfinite(values)
        places, values = places[is_finite], values[is_finite]
        if len(values):
            bins, starts, counts = _stretches(places)
            self._finite[bins] += counts
            self._sum[bins] += np.add.reduceat(values, starts)
            self._low[bins] = np.minimum(self._low[bins], np.minimum.reduceat(values, starts))
            self._high[bins] = np.maximum(self._high[bins], np.maximum.reduceat(values, starts))

    def curve(self) -> Curve:
        has = self._seen > 0
        finite = self._finite[has]
        some = np.maximum(finite, 1)
        blank = np.where(finite > 0, 0.0, np.nan)
        return Curve(
            steps=self._steps[has] / self._seen[has],
            mean=self._sum[has] / some + blank,
            low=self._low[has] + blank,
            high=self._high[has] + blank,
            counts=finite,
            newest=self._newest[1],
        )

    def _widen(self) -> None:
        """Join neighbours two by two."""
        half = len(self._seen) // 2
        for array in (self._seen, self._finite, self._steps, self._sum):
            array[:half] = array[: 2 * half : 2] + array[1 : 2 * half : 2]
            array[half:] = 0
        self._low[:half] = np.minimum(self._low[: 2 * half : 2], self._low[1 : 2 * half : 2])
        self._high[:half] = np.maximum(self._high[: 2 * half : 2], self._high[1 : 2 * half : 2])
        self._low[half:], self._high[half:] = np.inf, -np.inf
        self._width *= 2


def _stretches(
    places: Int[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " bins"], Int[np.ndarray, " bins"], Int[np.ndarray, " bins"]]:
    """Return the values of a sorted array, where each begins, and how often it is there."""
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return places[starts], starts, np.diff(starts, append=len(places))

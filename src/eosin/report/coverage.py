"""How many samples of a run came from each slide.

From the run's manifest, where it keeps one; otherwise from the order of the slides, which is
arithmetic and reads no pixels. What stands in where a slide fails is only known to the manifest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from eosin.catalog import SlideNames
from eosin.errors import EosinError
from eosin.names import unescaped
from eosin.report.bars import count_chart
from eosin.report.page import Html, Section, collapsible, figure, paragraph, table
from eosin.stream.manifest import manifest_parts, read_part
from eosin.stream.order import LaneOrder

MAX_PARTS = 5000
"""Parts of a manifest that are read; a run with more is counted by its plan."""

_MAX_NAMED = 30


def coverage_section(
    slides: Sequence[str],
    manifest: Path,
    shown_name: SlideNames,
    order: LaneOrder | EosinError,
    *,
    num_samples: int,
) -> Section:
    """Return the section that says what was seen of each slide.

    Args:
        slides: Paths of all slides of the run, as its order numbers them.
        manifest: Folder of the manifest; may be missing.
        shown_name: Gives the name to show of a slide that the manifest names.
        order: Of the run's stream, or why there is none.
        num_samples: Trained on so far.
    """
    counts = delivered_counts(manifest, shown_name)
    source = "From the run's manifest: what was delivered."
    if counts is None and isinstance(order, LaneOrder):
        planned = planned_counts(order, num_samples).tolist()
        counts = Counter(dict(zip(map(_name, slides), planned, strict=True)))
        source = (
            "As planned, without looking at pixels: where a slide gives no patch, another stands "
            "in. A run with a manifest (--manifest) shows what was delivered."
        )
    heading = "Samples of each slide"
    if counts is None:
        reason = f"Unknown: the run has no manifest, and its stream cannot be drawn: {order}."
        return Section(heading=heading, blocks=(paragraph(reason),))
    names = list(dict.fromkeys([*map(_name, slides), *counts]))
    return Section(heading=heading, blocks=tuple(_blocks(names, counts, source)))


def delivered_counts(manifest: Path, shown_name: Callable[[str], str]) -> Counter[str] | None:
    """Return samples by the name to show of the slide; None where there is no manifest."""
    parts = manifest_parts(manifest)
    if not 0 < len(parts) <= MAX_PARTS:
        return None
    counts: Counter[str] = Counter()
    for part in parts:
        try:
            column = read_part(part, ["slide"])["slide"]
        except (FileNotFoundError, pa.ArrowInvalid):
            # A run that goes on writes the last parts anew.
            continue
        for pair in column.value_counts().to_pylist():
            counts[shown_name(unescaped(pair["values"]))] += pair["counts"]
    return counts


def planned_counts(order: LaneOrder, num_samples: int) -> Int[np.ndarray, " slides"]:
    """Return how many of the first samples are planned from each slide, in the order of the list.

    Where slides are drawn by weight, what is to be expected, rounded.
    """
    if order.weights is not None:
        shares = order.weights / order.weights.sum(dtype=np.float64)
        expected: Int[np.ndarray, " slides"] = np.rint(num_samples * shares).astype(np.int64)
        return expected
    first, end = _whole_windows(order, num_samples)
    counts = np.zeros(order.num_slides, dtype=np.int64)
    width = order.pool_size * order.num_lanes
    _add_slots(counts, order, range(first * width, end * width))
    for index in _samples_outside(order, num_samples, first, end):
        counts[order.slide_of_slot(order.slot_of(index))] += 1
    return counts


def _whole_windows(order: LaneOrder, num_samples: int) -> tuple[int, int]:
    """Return the windows, from and below, that every lane has gone through from end to end."""
    lanes, span = order.num_lanes, _span(order)
    starts = [order.window_start(lane) for lane in range(lanes)]
    first = 0 if min(starts) >= 0 else 1
    end = min((num_samples - 1 + lanes - start) // span for start in starts)
    return first, max(first, end)


def _samples_outside(order: LaneOrder, num_samples: int, first: int, end: int) -> Iterable[int]:
    span = _span(order)
    for lane in range(order.num_lanes):
        start = order.window_start(lane)
        yield from range(lane, min(start + first * span, num_samples), order.num_lanes)
        yield from range(max(start + end * span, lane), num_samples, order.num_lanes)


def _span(order: LaneOrder) -> int:
    return order.pool_size * order.patches_per_slide * order.num_lanes


def _add_slots(counts: Int[np.ndarray, " slides"], order: LaneOrder, slots: range) -> None:
    """Count whole visits; a pass visits every slide once, so whole passes need no look."""
    n, each = order.num_slides, order.patches_per_slide
    first_pass, last_pass = -(-slots.start // n), slots.stop // n
    if first_pass >= last_pass:
        alone: Iterable[int] = slots
    else:
        counts += each * (last_pass - first_pass)
        alone = (*range(slots.start, first_pass * n), *range(last_pass * n, slots.stop))
    for slot in alone:
        counts[order.slide_of_slot(slot)] += each


def _blocks(names: Sequence[str], counts: Mapping[str, int], source: str) -> list[Html]:
    values = np.array([counts.get(name, 0) for name in names])
    unseen = sorted(name for name in names if not counts.get(name, 0))
    seen = f"{len(names) - len(unseen):,} of {len(names):,} slides gave {values.sum():,} samples"
    spread = f"{values.min():,} to {values.max():,} each, {np.median(values):,.0f} in the middle"
    chart = count_chart(
        [(name, counts.get(name, 0)) for name in names],
        title="Samples of each slide",
        x_label="samples",
        name="slides",
    )
    blocks = [paragraph(f"{seen}: {spread}."), figure(chart, source)]
    if unseen:
        named = ", ".join(unseen[:_MAX_NAMED])
        rest = f" and {len(unseen) - _MAX_NAMED:,} more" if len(unseen) > _MAX_NAMED else ""
        blocks.append(paragraph(f"Not seen yet ({len(unseen):,}): {named}{rest}."))
    if len(unseen) > _MAX_NAMED:
        rows = [(name,) for name in unseen]
        blocks.append(collapsible("all slides that were not seen yet", table(("slide",), rows)))
    return blocks


def _name(path: str) -> str:
    return PurePath(path).name

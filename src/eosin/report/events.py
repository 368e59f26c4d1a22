"""What should worry a reader: looks that show a collapse, and steps that were skipped."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from eosin.catalog import SlideNames
from eosin.report.history import History, Record, read_lines
from eosin.report.page import Html, Section, collapsible, paragraph, table
from eosin.train.config import TrainConfig
from eosin.train.run_folder import RunFolder
from eosin.watch.alarm import CollapseSigns, advice, first_alarm_step

_MAX_ROWS, _MAX_FOLDED = 20, 500
_MAX_SAMPLES = 3
_LOOKED_AT = (
    "watch_mean_cosine",
    "watch_rankme",
    "watch_mean_choice_entropy",
    "watch_teacher_entropy",
)


class Alarm(NamedTuple):
    """A look at which the run's alarm went off."""

    step: int
    signs: str


def collapse_alarms(config: TrainConfig, history: History) -> list[Alarm]:
    """Return the looks at which a collapse showed for the second time in a row, or a later one.

    Of a run of many looks, those that are neighbours count as one, by their means.
    """
    first_step = first_alarm_step(config)
    num_in_a_row, alarms = 0, []
    for step, gauges in _looks(history):
        if step < first_step:
            continue
        seen = CollapseSigns().seen(gauges)
        num_in_a_row = num_in_a_row + 1 if seen else 0
        if num_in_a_row >= 2:
            alarms.append(Alarm(step, "; ".join(seen)))
    return alarms


def warning_sections(
    run: RunFolder, config: TrainConfig, alarms: Sequence[Alarm], names: SlideNames
) -> tuple[Section, ...]:
    """Return the section of warnings; none where there is nothing to warn of."""
    skipped = read_lines(run.nonfinite)
    blocks: list[Html] = []
    if alarms:
        blocks.append(paragraph(f"The gauges show a collapse. {advice(config)}."))
        blocks += _table(("step", "sign"), [(str(step), signs) for step, signs in alarms])
    if skipped:
        blocks.append(
            paragraph(
                "Steps with a loss or a gradient that was not finite, which changed nothing: "
                f"{len(skipped):,}. A slide that comes again and again is worth a look; none that "
                "does means that the learning rate is too high."
            )
        )
        rows = [
            (_shown(one.get("step")), _shown(one.get("loss")), _samples(one, names))
            for one in skipped
        ]
        blocks += _table(("step", "loss", "its samples"), rows)
    return (Section(heading="Warnings", blocks=tuple(blocks)),) if blocks else ()


def _looks(history: History) -> Iterator[tuple[int, Mapping[str, float]]]:
    if not all(name in history.curves for name in _LOOKED_AT):
        return
    # All are measured at the same looks, so their bins are the same.
    means = [history.curves[name].mean.tolist() for name in _LOOKED_AT]
    steps = history.curves[_LOOKED_AT[0]].steps.tolist()
    for step, *values in zip(steps, *means, strict=True):
        yield round(step), dict(zip(_LOOKED_AT, values, strict=True))


def _table(header: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[Html]:
    newest_first = rows[::-1]
    older = newest_first[_MAX_ROWS:_MAX_FOLDED]
    blocks = [table(header, newest_first[:_MAX_ROWS])]
    if older:
        blocks.append(collapsible(f"{len(older):,} older ones", table(header, older)))
    return blocks


def _samples(record: Record, names: SlideNames) -> str:
    samples = record.get("samples")
    if not isinstance(samples, list):
        return "unknown"
    places = [
        _place(sample, names) for sample in samples[:_MAX_SAMPLES] if isinstance(sample, dict)
    ]
    rest = f" and {len(samples) - _MAX_SAMPLES:,} more" if len(samples) > _MAX_SAMPLES else ""
    return "; ".join(places) + rest


def _place(sample: Record, names: SlideNames) -> str:
    slide = names(str(sample.get("slide")))
    return f"{slide} x={_shown(sample.get('x'))} y={_shown(sample.get('y'))}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)

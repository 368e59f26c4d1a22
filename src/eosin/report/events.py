"""What a run complained about: alarms, and steps whose numbers were not finite."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePath

from eosin.report.history import Record, read_lines
from eosin.report.page import Html, Section, collapsible, paragraph, table

ALARMS_FILE = "alarms.jsonl"
NONFINITE_FILE = "nonfinite.jsonl"

_MAX_ROWS, _MAX_FOLDED = 20, 500
_MAX_SAMPLES = 3


def alarm_steps(run_path: Path) -> list[int]:
    """Return the steps at which the run's alarm went off."""
    steps = [alarm.get("step") for alarm in read_lines(run_path / ALARMS_FILE)]
    return [step for step in steps if isinstance(step, int)]


def event_sections(run_path: Path) -> tuple[Section, ...]:
    """Return the section of complaints; none when there were none."""
    alarms = read_lines(run_path / ALARMS_FILE)
    skipped = read_lines(run_path / NONFINITE_FILE)
    blocks: list[Html] = []
    if alarms:
        said = [(_shown(one.get("step")), _shown(one.get("message"))) for one in alarms]
        blocks += _table(("step", "alarm"), said)
    if skipped:
        blocks.append(
            paragraph(
                "Steps with a loss or a gradient that was not finite, which changed nothing: "
                f"{len(skipped):,}. A slide that comes again and again is worth a look; none that "
                "does means that the learning rate is too high."
            )
        )
        rows = [
            (_shown(one.get("step")), _shown(one.get("loss")), _samples(one)) for one in skipped
        ]
        blocks += _table(("step", "loss", "its samples"), rows)
    return (Section(heading="Warnings", blocks=tuple(blocks)),) if blocks else ()


def _table(header: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[Html]:
    newest_first = rows[::-1]
    older = newest_first[_MAX_ROWS:_MAX_FOLDED]
    blocks = [table(header, newest_first[:_MAX_ROWS])]
    if older:
        blocks.append(collapsible(f"{len(older):,} older ones", table(header, older)))
    return blocks


def _samples(record: Record) -> str:
    samples = record.get("samples")
    if not isinstance(samples, list):
        return "unknown"
    places = [_place(sample) for sample in samples[:_MAX_SAMPLES] if isinstance(sample, dict)]
    rest = f" and {len(samples) - _MAX_SAMPLES:,} more" if len(samples) > _MAX_SAMPLES else ""
    return "; ".join(places) + rest


def _place(sample: Record) -> str:
    slide = PurePath(str(sample.get("slide"))).name
    return f"{slide} x={_shown(sample.get('x'))} y={_shown(sample.get('y'))}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)

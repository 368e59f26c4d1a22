import json
from pathlib import Path

import pytest

from eosin.catalog import SlideNames
from eosin.report.events import Alarm, collapse_alarms, warning_sections
from eosin.report.history import read_history
from eosin.train.run_folder import RunFolder
from train.tiny import tiny_config

HEALTHY = {
    "watch_mean_cosine": 0.1,
    "watch_rankme": 12.0,
    "watch_mean_choice_entropy": 3.0,
    "watch_teacher_entropy": 2.0,
}
ALIKE = {**HEALTHY, "watch_mean_cosine": 0.999}

SHOWN = SlideNames([], anonymous=False)


def page_of(run: Path, alarms=()) -> str:
    sections = warning_sections(RunFolder(run), tiny_config(), alarms, SHOWN)
    return "".join(block for section in sections for block in section.blocks)


def alarms_of(folder: Path, looks, every_steps: int = 10) -> list[int]:
    path = folder / "metrics.jsonl"
    records = [{"step": every_steps * i, "loss": 1.0, **look} for i, look in enumerate(looks)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    config = tiny_config(steps=10_000)
    return [alarm.step for alarm in collapse_alarms(config, read_history(path))]


def test_a_run_without_complaints_has_no_warnings(tmp_path: Path):
    assert warning_sections(RunFolder(tmp_path), tiny_config(), [], SHOWN) == ()


def test_alarms_are_listed_with_what_to_do(tmp_path: Path):
    page = page_of(tmp_path, [Alarm(40, "all < alike"), Alarm(60, "still")])
    assert page.index("still") < page.index("all &lt; alike")
    assert "lower optim.base_lr=" in page


def test_a_second_sign_in_a_row_is_an_alarm_and_a_single_one_is_none(tmp_path: Path):
    assert alarms_of(tmp_path, [HEALTHY, HEALTHY, ALIKE, HEALTHY, ALIKE, ALIKE, ALIKE]) == [50, 60]


@pytest.mark.parametrize(
    "sign", [{"watch_rankme": 1.0}, {"watch_teacher_entropy": 3.0}, {"watch_rankme": float("nan")}]
)
def test_each_sign_is_one(tmp_path: Path, sign):
    assert alarms_of(tmp_path, [HEALTHY, *[{**HEALTHY, **sign}] * 2]) == [20]


def test_a_model_that_has_not_warmed_up_may_have_signs(tmp_path: Path):
    assert alarms_of(tmp_path, [ALIKE, ALIKE, HEALTHY], every_steps=1) == []


def test_a_run_that_is_not_watched_has_no_alarms(tmp_path: Path):
    assert alarms_of(tmp_path, [{}, {"watch_mean_cosine": 1.0}]) == []


def test_a_skipped_step_is_listed_with_where_its_samples_were_from(tmp_path: Path):
    samples = [
        {"index": i, "slide": f"/slides/s{i}.svs", "x": i, "y": 2 * i, "level": 0, "mpp": 0.5}
        for i in range(5)
    ]
    record = {"step": 7, "loss": float("nan"), "samples": samples}
    RunFolder(tmp_path).append_nonfinite(record)
    page = page_of(tmp_path)
    assert "<td>7</td><td>NaN</td>" in page
    assert "s0.svs x=0 y=0; s1.svs x=1 y=2; s2.svs x=2 y=4 and 2 more" in page


def test_a_record_with_parts_missing_is_still_listed(tmp_path: Path):
    RunFolder(tmp_path).nonfinite.write_text('{"step": 7}\n{"step": 8, "samples": [{"x": 1}, 3]}\n')
    page = page_of(tmp_path)
    assert "<td>7</td><td>null</td><td>unknown</td>" in page
    assert "None x=1 y=null" in page


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path):
    RunFolder(tmp_path).nonfinite.write_text('{"step": 7, "loss": 1}\n{"step": 8, "sam')
    assert "nothing: 1." in page_of(tmp_path)


def test_many_complaints_are_folded_away(tmp_path: Path):
    shown, folded = page_of(tmp_path, [Alarm(i, "s") for i in range(1000)]).split("<details>")
    assert shown.count("<tr>") == 21
    assert "480 older ones" in folded

import json
from pathlib import Path

from eosin.report.events import ALARMS_FILE, NONFINITE_FILE, alarm_steps, event_sections


def page_of(run: Path) -> str:
    return "".join(block for section in event_sections(run) for block in section.blocks)


def test_a_run_without_complaints_has_no_warnings(tmp_path: Path):
    assert event_sections(tmp_path) == ()
    assert alarm_steps(tmp_path) == []


def test_alarms_are_listed_and_their_steps_known(tmp_path: Path):
    lines = [json.dumps({"step": step, "message": f"<b> {step}"}) for step in (40, 60)]
    (tmp_path / ALARMS_FILE).write_text("\n".join(lines) + "\n" + '{"step": 80, "mess')
    assert alarm_steps(tmp_path) == [40, 60]
    page = page_of(tmp_path)
    assert page.index("&lt;b&gt; 60") < page.index("&lt;b&gt; 40")


def test_a_skipped_step_is_listed_with_where_its_samples_were_from(tmp_path: Path):
    samples = [
        {"index": i, "slide": f"/slides/s{i}.svs", "x": i, "y": 2 * i, "level": 0, "mpp": 0.5}
        for i in range(5)
    ]
    record = {"step": 7, "loss": float("nan"), "samples": samples}
    (tmp_path / NONFINITE_FILE).write_text(json.dumps(record) + "\n")
    page = page_of(tmp_path)
    assert "<td>7</td><td>NaN</td>" in page
    assert "s0.svs x=0 y=0; s1.svs x=1 y=2; s2.svs x=2 y=4 and 2 more" in page


def test_a_record_with_parts_missing_is_still_listed(tmp_path: Path):
    (tmp_path / NONFINITE_FILE).write_text('{"step": 7}\n{"step": 8, "samples": [{"x": 1}, 3]}\n')
    page = page_of(tmp_path)
    assert "<td>7</td><td>null</td><td>unknown</td>" in page
    assert "None x=1 y=null" in page


def test_many_complaints_are_folded_away(tmp_path: Path):
    lines = [json.dumps({"step": step, "message": "m"}) for step in range(1000)]
    (tmp_path / ALARMS_FILE).write_text("\n".join(lines) + "\n")
    shown, folded = page_of(tmp_path).split("<details>")
    assert shown.count("<tr>") == 21
    assert "480 older ones" in folded

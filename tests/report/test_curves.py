import json
from pathlib import Path

import pytest

from eosin.report.curves import curve_section, hours
from eosin.report.history import read_history
from train.tiny import tiny_config


def section(tmp_path: Path, *records) -> str:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": i, **one}) + "\n" for i, one in enumerate(records)))
    return "".join(curve_section(tiny_config(), read_history(path)).blocks)


def test_losses_norms_and_regularisers_have_a_chart_each_whatever_their_names(tmp_path: Path):
    one = {"loss": 3.0, "loss_a": 1.0, "loss_kde": 2.0, "grad_norm_x": 1.0, "grad_norm_y": 2.0}
    page = section(tmp_path, one, one)
    assert page.count("<svg") == 4
    for title in ("Loss", "Terms", "Regulariser", "Gradient norms"):
        assert f"<title>{title}</title>" in page
    assert "everything else" not in page


def test_the_share_of_waiting_is_that_of_the_time(tmp_path: Path):
    page = section(
        tmp_path, {"data_wait_s": 1.0, "step_s": 1.0}, {"data_wait_s": 0.0, "step_s": 6.0}
    )
    assert "Of 8 s in steps, 12.5% was spent waiting for patches." in page
    assert "Waiting for patches" in page


def test_what_nobody_knows_is_drawn_folded_away_and_counters_are_not(tmp_path: Path):
    page = section(tmp_path, {"my_metric": 1.0, "places_sum": 77, "watch_bank_s": 2.0})
    _, folded = page.split("<details>")
    assert "<title>my_metric</title>" in folded
    assert "<title>watch_bank_s</title>" in folded
    assert "places_sum" not in page


def test_gauges_stay_out_of_the_curves(tmp_path: Path):
    page = section(tmp_path, {"loss": 1.0, "watch_kde": 1.0, "mean_cosine": 0.1, "watch_new": 1.0})
    assert page.count("<svg") == 1


def test_damaged_lines_are_told(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "loss": 1.0}\nrubbish\n')
    blocks = "".join(curve_section(tiny_config(), read_history(path)).blocks)
    assert "1 damaged lines of metrics.jsonl are left out" in blocks


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min"),
     (200_000, "2 days 7 h")],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds, text):
    assert hours(float(seconds)) == text

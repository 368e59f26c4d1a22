import json
import math
from pathlib import Path

import numpy as np
import pytest

from eosin.report import history
from eosin.report.history import MAX_BINS, read_history, read_lines


def write(path: Path, records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_of_a_long_run_every_bin_has_its_exact_mean_and_extremes(tmp_path: Path):
    num_steps = 300_000
    rng = np.random.default_rng(0)
    loss = np.round(rng.normal(size=num_steps) + np.linspace(9, 1, num_steps), 4)
    loss[123_456] = 77.0
    lines = [f'{{"step": {i}, "loss": {value}}}\n' for i, value in enumerate(loss.tolist())]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(lines))
    read = read_history(path)
    curve = read.curves["loss"]
    assert (read.num_records, read.num_damaged, read.last_step) == (num_steps, 0, num_steps - 1)
    assert MAX_BINS // 2 <= len(curve.steps) <= MAX_BINS
    ends = np.cumsum(curve.counts)
    assert ends[-1] == num_steps
    parts = np.split(loss, ends[:-1])
    np.testing.assert_allclose(curve.mean, [part.mean() for part in parts], atol=1e-12)
    np.testing.assert_array_equal(curve.low, [part.min() for part in parts])
    np.testing.assert_array_equal(curve.high, [part.max() for part in parts])
    np.testing.assert_allclose(
        curve.steps, [part.mean() for part in np.split(np.arange(num_steps), ends[:-1])]
    )
    assert curve.high.max() == 77.0
    assert curve.newest == loss[-1]
    assert curve.total == pytest.approx(loss.sum())


def test_a_short_run_is_not_thinned(tmp_path: Path):
    path = write(tmp_path / "m", [{"step": i, "loss": i / 2} for i in range(100)])
    series = read_history(path).curves["loss"].series("loss")
    assert series.x == tuple(map(float, range(100)))
    assert series.y == series.low == series.high == tuple(i / 2 for i in range(100))


def test_a_metric_of_every_tenth_step_has_points_there_only(tmp_path: Path):
    records = [
        {"step": i, "loss": 1.0} | ({"watch_kde": i} if i % 10 == 0 else {}) for i in range(41)
    ]
    curve = read_history(write(tmp_path / "m", records)).curves["watch_kde"]
    assert curve.steps.tolist() == curve.mean.tolist() == [0, 10, 20, 30, 40]


def test_values_that_are_not_finite_are_gaps_alone_and_left_out_of_a_bin(tmp_path: Path):
    records = [{"step": i, "loss": float(i)} for i in range(8)]
    records[5]["loss"] = math.nan
    records[6]["loss"] = math.inf
    path = write(tmp_path / "m", records)
    alone = read_history(path).curves["loss"]
    assert np.isnan(alone.mean).tolist() == [i in (5, 6) for i in range(8)]
    joined = read_history(path, max_bins=2).curves["loss"]
    assert joined.mean.tolist() == [1.5, 5.5]
    assert (joined.low.tolist(), joined.high.tolist()) == ([0, 4], [3, 7])
    assert joined.total == 0 + 1 + 2 + 3 + 4 + 7


def test_a_line_that_is_being_written_is_no_damage(tmp_path: Path):
    path = write(tmp_path / "m", [{"step": i, "loss": 1.0} for i in range(3)])
    for half in ('{"step": 3', '{"step": 3, "loss": 1', "{"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]) + half)
        read = read_history(path)
        assert (read.num_records, read.num_damaged, read.last_step) == (3, 0, 2)


def test_a_last_line_without_its_end_counts_when_it_is_whole(tmp_path: Path):
    path = tmp_path / "m"
    path.write_text('{"step": 0, "loss": 1.0}\n{"step": 1, "loss": 3.0}')
    assert read_history(path).curves["loss"].mean.tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    "bad", ["\x00\x00\x00", "{", "[1, 2]", '{"loss": 1.0}', "nonsense", '{"step": "x"}']
)
def test_damaged_lines_are_counted_and_the_others_kept(tmp_path: Path, bad):
    lines = [json.dumps({"step": i, "loss": float(i)}) for i in range(6)]
    lines.insert(3, bad)
    path = tmp_path / "m"
    path.write_text("\n".join(lines) + "\n")
    read = read_history(path)
    assert (read.num_records, read.num_damaged, read.last_step) == (6, 1, 5)
    assert read.curves["loss"].mean.tolist() == [0, 1, 2, 3, 4, 5]


def test_lines_are_found_whole_wherever_a_block_ends(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "m", [{"step": i, "loss": float(i)} for i in range(50)])
    for size in (1, 7, 64, 333):
        monkeypatch.setattr(history, "_BLOCK_BYTES", size)
        read = read_history(path)
        assert read.num_records == 50
        assert read.curves["loss"].mean.tolist() == list(range(50))


def test_what_is_no_number_is_left_out_and_ints_are_numbers(tmp_path: Path):
    records = [{"step": i, "name": "a", "n": i, "mixed": i if i else "none"} for i in range(3)]
    curves = read_history(write(tmp_path / "m", records)).curves
    assert set(curves) == {"n", "mixed"}
    assert curves["mixed"].steps.tolist() == [1, 2]


def test_without_a_file_there_is_no_history(tmp_path: Path):
    read = read_history(tmp_path / "none")
    assert (dict(read.curves), read.num_records, read.last_step) == ({}, 0, -1)
    assert read_lines(tmp_path / "none") == []


def test_the_recent_mean_is_that_of_the_last_bins(tmp_path: Path):
    path = write(tmp_path / "m", [{"step": i, "s": 1.0 if i < 95 else 3.0} for i in range(100)])
    assert read_history(path).curves["s"].recent_mean(0.05) == 3.0


def test_objects_of_short_files_are_read_whole_and_half_ones_left_out(tmp_path: Path):
    path = tmp_path / "alarms.jsonl"
    path.write_text('{"step": 4, "message": "m"}\n3\n{"step": 5, "me')
    assert read_lines(path) == [{"step": 4, "message": "m"}]

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eosin.backends.openslide import OpenSlideBackend
from eosin.errors import ConfigError, InputError
from eosin.evaluate.comparison import ModelComparison, compare_models
from eosin.evaluate.labelled import LabelledFeatures
from eosin.report import preview
from eosin.report import run as report
from eosin.report.history import Curve, History
from eosin.report.run import COMPARISON_FILE, run_state, write_run_report
from eosin.report.stream import sample_stream
from eosin.train.loop import train
from eosin.train.site import Site
from train.tiny import tiny_config


def features(group: str, shift: float) -> LabelledFeatures:
    rng = np.random.default_rng(ord(group))
    labels = np.arange(40) % 2
    return LabelledFeatures(
        features=rng.normal(size=(40, 4)) + shift * labels[:, None],
        labels=labels,
        class_names=("a", "b"),
        names=tuple(f"{group} {i}" for i in range(40)),
        groups=tuple(f"{group} {i // 10}" for i in range(40)),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Path:
    """A run of three steps with a manifest; not to be changed."""
    config = tiny_config(steps=3, checkpoint_every_steps=1)
    site = Site(device="cpu", has_manifest=True)
    return train(config, phantoms, tmp_path_factory.mktemp("run"), site=site).path


@pytest.fixture
def run_path(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, of whose stream only few samples are drawn for the page."""
    few = partial(sample_stream, num_samples=12)
    monkeypatch.setattr(report, "sample_stream", few)
    return shutil.copytree(finished, tmp_path / "run")


def test_a_report_holds_all_that_is_known_of_a_run(run_path: Path, phantoms: list[Path]):
    comparison = compare_models(
        {name: (features("x", s), features("y", s)) for name, s in (("random", 0.0), ("it", 2.0))},
        note="made-up classes",
    )
    (run_path / COMPARISON_FILE).write_text(json.dumps(comparison.to_json()))
    (run_path / "nonfinite.jsonl").write_text('{"step": 1, "loss": NaN, "samples": []}\n')
    page = write_run_report(run_path).read_text()
    for heading in (
        "What was learnt",
        "Warnings",
        "Training",
        "Collapse gauges",
        "What patches look like to the model",
        "Samples of each slide",
        "Slides",
        "Patches",
        "Views of one patch",
    ):
        assert f">{heading}</h2>" in page
    assert "made-up classes" in page
    assert "that was not finite, which changed nothing: 1." in page
    assert "Finished: all 3 steps are done." in page
    assert "what was delivered" in page
    assert phantoms[0].name in page
    assert "base_lr = 0.004" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("<svg") >= 12


def test_one_slide_is_one(run_path: Path):
    assert "streamed from 3 slides;" in write_run_report(run_path).read_text()
    listed = run_path / "slides.json"
    kept = json.loads(listed.read_text())
    listed.write_text(json.dumps(kept[:1]))
    assert "streamed from 1 slide;" in write_run_report(run_path).read_text()


def test_a_run_without_a_step_has_a_report(run_path: Path):
    (run_path / "metrics.jsonl").unlink()
    shutil.rmtree(run_path / "checkpoints")
    shutil.rmtree(run_path / "manifest")
    page = write_run_report(run_path).read_text()
    assert "No step is done yet." in page
    assert "No step of 3 is done yet." in page
    assert "There is no checkpoint yet" in page


def test_a_report_of_a_run_that_goes_on_bears_what_is_half_written(run_path: Path):
    metrics = run_path / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:2]) + lines[2][:40])
    newest = sorted((run_path / "checkpoints").glob("step_*"))[-1]
    (newest / "teacher.safetensors").write_bytes(b"half")
    page = write_run_report(run_path).read_text()
    assert "Going on: step 2 of 3 (67%) done, about" in page
    assert "damaged" not in page


def test_slides_that_are_out_of_reach_cost_only_their_pictures(run_path: Path):
    slides = run_path / "slides.json"
    slides.write_text(slides.read_text().replace("phantom", "elsewhere"))
    page = write_run_report(run_path).read_text()
    assert "The slides cannot be shown" in page
    assert "its slides cannot be shown: none of the 3 slides is where it was" in page
    assert "what was delivered" in page
    assert "Finished" in page


def history(**last: float) -> History:
    one = np.ones(1)
    curves = {
        name: Curve(
            steps=one, mean=one * value, low=one, high=one, counts=np.ones(1, int), newest=value
        )
        for name, value in last.items()
    }
    return History(curves=curves, num_records=5, num_damaged=0, last_step=4)


@pytest.mark.parametrize(
    ("silent_s", "state"),
    [
        (10.0, "Going on: step 5 of 105 (5%) done, about 3 h 20 min to go."),
        (1100.0, "Going on: step 5 of 105 (5%) done"),
        (1300.0, "Stopped, or silent for 22 min, after step 5 of 105 (5%)."),
    ],
)
def test_the_state_says_what_is_left_and_whether_the_run_is_silent(silent_s: float, state: str):
    config = tiny_config(steps=105)
    said = run_state(config, history(step_s=119.0, data_wait_s=1.0), silent_s=silent_s)
    assert said.startswith(state)


def test_time_between_steps_counts_where_it_is_measured():
    said = run_state(tiny_config(steps=105), history(watch_wall_step_s=60.0), silent_s=1.0)
    assert "about 1 h 40 min to go" in said


def test_a_slide_that_cannot_be_used_is_named_with_its_reason(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preview, "sample_stream", partial(sample_stream, num_samples=40))
    bad = tmp_path / "bad.svs"
    bad.write_text("no slide")
    page = tmp_path / "preview.html"
    preview.write_preview(page, tiny_config(), [*phantoms, bad], OpenSlideBackend(), title="tiny")
    assert "not a slide that OpenSlide can read" in page.read_text()


def test_a_folder_that_is_no_run_has_no_report(tmp_path: Path):
    with pytest.raises(InputError, match="is no run"):
        write_run_report(tmp_path)


def test_a_comparison_comes_back_from_json():
    parts = {name: (features("x", s), features("y", s)) for name, s in (("a", 0.0), ("b", 2.0))}
    comparison = compare_models(parts, note="n")
    back = ModelComparison.from_json(json.loads(json.dumps(comparison.to_json())))
    assert back == comparison
    assert [one.probe for one in back.differences] == ["knn", "linear"]
    assert back.differences[0].accuracy.value > 0.2
    assert len(back.describe().splitlines()) == 6


def test_one_model_alone_is_compared_with_none():
    comparison = compare_models({"a": (features("x", 1.0), features("y", 1.0))}, note="n")
    assert comparison.differences == ()


def test_a_comparison_with_a_part_missing_says_so():
    with pytest.raises(InputError, match="'class_names' is missing"):
        ModelComparison.from_json({"note": "n"})


def test_a_report_of_somebody_in_a_run_is_not_replaced(run_path: Path):
    """Row 1 of the faults: another member, whatever was called report.html."""
    (run_path / "report.html").write_text("<p>Written by hand.")
    before = sorted(run_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"report\.html is there and is not a page that eosin"):
        write_run_report(run_path)
    assert (run_path / "report.html").read_text() == "<p>Written by hand."
    assert sorted(run_path.rglob("*")) == before

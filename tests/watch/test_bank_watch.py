from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from eosin.errors import ConfigError
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.step import initial_model
from eosin.watch.bank import TileBank, draw_bank
from eosin.watch.bank_watch import BankWatch
from eosin.watch.features import teacher_features, teacher_logits
from eosin.watch.gauges import choice_gauges, cls_patch_cosine
from eosin.watch.schedule import Looks
from train.runs import StopAt, StoppedError
from train.tiny import tiny_config
from watch.monitor_contract import METRICS, MonitorContract

CPU = Site(device="cpu", num_threads=0)
CONFIG = replace(tiny_config(precision="float32"), steps=4)
SIZE = CONFIG.data.global_px
EVERY_STEP = Looks(every_steps=1, num_steps=4)


def made_bank(num_tiles: int = 20, sites: Sequence[str] = ("",)) -> TileBank:
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (num_tiles, 1, 1, 3))
    shaded = np.clip(colours + rng.integers(-60, 60, (num_tiles, 64, 64, 3)), 0, 255)
    patches = shaded.astype(np.uint8)
    patients = [f"p{number % 8}" for number in range(num_tiles)]
    return TileBank(
        patches=patches,
        first_views=patches[:, :SIZE, :SIZE],
        second_views=patches[:, -SIZE:, -SIZE:],
        slides=np.array(patients),
        patients=np.array(patients),
        sites=np.array([sites[number % 8 % len(sites)] for number in range(num_tiles)]),
        x=np.arange(num_tiles, dtype=np.int64),
        y=np.arange(num_tiles, dtype=np.int64),
        mpp=np.full(num_tiles, 0.5),
    )


class TestBankWatch(MonitorContract):
    @pytest.fixture
    def monitor(self, tmp_path: Path) -> Monitor:
        return BankWatch(tmp_path / "bank.npz", made_bank, EVERY_STEP, size_px=SIZE)


def look(bank: TileBank, path: Path) -> dict[str, float | int]:
    watch = BankWatch(path / "bank.npz", lambda: bank, EVERY_STEP, size_px=SIZE)
    watch.run_started(0, 4)
    return dict(watch.step_done(0, METRICS, initial_model(CONFIG)))


def test_a_look_gauges_all_that_the_table_promises(tmp_path: Path):
    seen = look(made_bank(), tmp_path)
    assert set(seen) == {
        "watch_kde",
        "watch_mean_cosine",
        "watch_feature_std",
        "watch_rankme",
        "watch_alpha_req",
        "watch_cls_patch_cosine",
        "watch_teacher_entropy",
        "watch_mean_choice_entropy",
        "watch_prototype_share",
        "watch_prototype_perplexity",
        "watch_view_retrieval",
        "watch_view_overlap",
        "watch_bank_s",
    }
    assert all(np.isfinite(value) for value in seen.values())


def test_a_bank_of_another_size_than_is_asked_for_is_refused(tmp_path: Path):
    path = tmp_path / "bank.npz"
    made_bank(20).save(path)
    of_20, of_30 = (
        BankWatch(path, made_bank, EVERY_STEP, size_px=SIZE, num_tiles=num) for num in (20, 30)
    )
    of_20.run_started(0, 4)
    with pytest.raises(ConfigError, match=r"bank_tiles=30, but .*bank\.npz was drawn with 20"):
        of_30.run_started(0, 4)


def test_sites_that_have_a_look_of_their_own_are_told(tmp_path: Path):
    seen = look(made_bank(40, sites=("A", "B")), tmp_path)
    assert 0 < seen["watch_site_chance"] < 0.5
    assert 0 <= seen["watch_site_accuracy"] <= 1


@pytest.mark.parametrize("centering", ["sinkhorn_knopp", "softmax"])
def test_prototypes_are_counted_in_targets_as_the_run_makes_them(tmp_path: Path, centering: str):
    config = replace(CONFIG, losses=replace(CONFIG.losses, centering=centering))
    model, bank = initial_model(config), made_bank(40)
    watch = BankWatch(tmp_path / "bank.npz", lambda: bank, EVERY_STEP, size_px=SIZE)
    watch.run_started(0, 4)
    seen = watch.step_done(0, METRICS, model)
    logits = teacher_logits(
        model, teacher_features(model, torch.from_numpy(bank.first_views.copy())).cls
    )
    balanced, plain = (
        choice_gauges(logits, temperature=METRICS["teacher_temperature"], is_balanced=is_balanced)
        for is_balanced in (True, False)
    )
    assert balanced.prototype_share > 2 * plain.prototype_share
    expected = balanced if centering == "sinkhorn_knopp" else plain
    assert seen["watch_prototype_share"] == pytest.approx(expected.prototype_share)
    assert seen["watch_prototype_perplexity"] == pytest.approx(expected.prototype_perplexity)
    assert seen["watch_teacher_entropy"] == pytest.approx(plain.entropy, rel=1e-4)


def test_a_bank_is_drawn_once_and_kept(tmp_path: Path):
    first = look(made_bank(20), tmp_path)
    again = look(made_bank(30), tmp_path)
    assert {**first, "watch_bank_s": 0} == {**again, "watch_bank_s": 0}


def test_a_teacher_that_is_not_finite_is_looked_at_too(tmp_path: Path):
    model = initial_model(CONFIG)
    with torch.no_grad():
        model.teacher["backbone"].norm.weight.fill_(float("nan"))
    watch = BankWatch(tmp_path / "bank.npz", made_bank, EVERY_STEP, size_px=SIZE)
    watch.run_started(0, 4)
    seen = watch.step_done(0, METRICS, model)
    assert np.isnan(seen["watch_mean_cosine"])
    assert np.isnan(seen["watch_teacher_entropy"])


def test_features_are_those_of_the_teacher_whatever_the_batches(tmp_path: Path):
    model = initial_model(CONFIG)
    images = torch.from_numpy(made_bank(37).first_views.copy())
    features = teacher_features(model, images)
    pixels = (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        tokens = model.teacher["backbone"](pixels)
    assert torch.allclose(features.cls, tokens.cls, atol=1e-5)
    assert torch.allclose(features.patch_mean, tokens.patches.mean(dim=1), atol=1e-5)
    cosines = cls_patch_cosine(tokens.cls, tokens.patches)
    assert torch.allclose(features.cls_patch_cosine, cosines, atol=1e-5)


def untimed(run: RunFolder) -> list[dict[str, float | int]]:
    times = ("data_wait_s", "step_s", "patches_per_s", "watch_bank_s")
    return [{k: v for k, v in record.items() if k not in times} for record in run.metrics()]


def watched(path: Path, slides: list[Path], config=CONFIG, *others: Monitor) -> RunFolder:
    draw = partial(draw_bank, config, slides, 16)
    looks = Looks(every_steps=2, num_steps=4)
    bank = BankWatch(path / "bank.npz", draw, looks, size_px=SIZE)
    return train(config, slides, path, site=CPU, monitors=[bank, *others])


def test_a_run_that_is_watched_trains_like_one_that_is_not_and_goes_on_alike(
    tmp_path: Path, phantoms: list[Path]
):
    config = replace(CONFIG, checkpoint_every_steps=1)
    alone = untimed(train(config, phantoms, tmp_path / "alone", site=CPU))
    whole = untimed(watched(tmp_path / "whole", phantoms, config))
    assert [record["step"] for record in whole if "watch_kde" in record] == [0, 2, 3]
    unwatched = [
        {name: value for name, value in record.items() if not name.startswith("watch_")}
        for record in whole
    ]
    assert unwatched == alone
    with pytest.raises(StoppedError):
        watched(tmp_path / "parts", phantoms, config, StopAt(1))
    assert untimed(watched(tmp_path / "parts", phantoms, config)) == whole

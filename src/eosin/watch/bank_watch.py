"""Looks at the teacher on a fixed bank of tiles every so many steps."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from eosin.errors import ConfigError
from eosin.evaluate.knn import Knn
from eosin.names import get_logger
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.transforms.resize import resize
from eosin.watch.bank import TileBank
from eosin.watch.features import (
    TeacherFeatures,
    present_world,
    teacher_features,
    teacher_logits,
)
from eosin.watch.gauges import alpha_req, choice_gauges, spread_gauges, view_gauges
from eosin.watch.probes import site_probe
from eosin.watch.schedule import Looks

logger = get_logger(__name__)

NUM_NEIGHBOURS = 10
"""Of the agreement of views: few against the bank, so that chance is low."""

SITE_KNN = Knn(num_neighbours=10)

IMAGES_A_TILE = 3
"""The patch as it is, and two views."""


class _SeenBank(NamedTuple):
    """A bank as the teacher is shown it."""

    images: Tensor
    """Patches as they are, then one view of each, then the other."""
    patients: list[str]
    sites: list[str]

    @classmethod
    def of(cls, bank: TileBank, size_px: int) -> "_SeenBank":
        patches = np.stack([np.asarray(resize(patch, size_px)) for patch in bank.patches])
        images = np.concatenate([patches, bank.first_views, bank.second_views])
        return cls(torch.from_numpy(images), bank.patients.tolist(), bank.sites.tolist())


@final
class BankWatch(Monitor):
    """Gauges the teacher on a bank, which is drawn before the first step and then kept."""

    def __init__(
        self,
        path: Path,
        draw: Callable[[], TileBank],
        looks: Looks,
        *,
        size_px: int,
        num_tiles: int | None = None,
    ) -> None:
        """Watch a bank.

        Args:
            path: Where the bank is, or will be.
            draw: Makes the bank where there is none yet.
            looks: When to look.
            size_px: Side of the run's global crops, that plain patches are resized to.
            num_tiles: That the bank must have, also one that an earlier start has drawn; None takes
                any.
        """
        self._path = path
        self._draw = draw
        self._looks = looks
        self._size_px = size_px
        self._num_tiles = num_tiles
        self._seen: _SeenBank | None = None

    def run_started(self, first_step: int, num_steps: int) -> None:
        # Only one process asks whether the bank is there: the others might ask when it just was
        # written, and then not wait with those that asked before.
        present_world(torch.device("cpu")).on_main(self._ensure_bank)
        bank = TileBank.load(self._path)
        if self._num_tiles is not None and len(bank) != self._num_tiles:
            raise ConfigError(
                f"watch.bank_tiles={self._num_tiles}, but {self._path} was drawn with {len(bank)}; "
                f"say {len(bank)}, or remove the file for a new bank, whose gauges cannot be "
                "compared with those before"
            )
        self._seen = _SeenBank.of(bank, self._size_px)

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        if self._seen is None or not self._looks.is_due(step):
            return {}
        look_start = time.perf_counter()
        features = teacher_features(model, self._seen.images)
        num_tiles = len(features.cls) // IMAGES_A_TILE
        plain, first, second = (
            features.part(number * num_tiles, (number + 1) * num_tiles)
            for number in range(IMAGES_A_TILE)
        )
        temperature = float(metrics["teacher_temperature"])
        choices = choice_gauges(
            teacher_logits(model, first.cls),
            temperature=temperature,
            is_balanced=model.config.losses.centering == "sinkhorn_knopp",
        )
        views = view_gauges(first.joined, second.joined, num_neighbours=NUM_NEIGHBOURS)
        return {
            **_spread(plain, model.config.losses.kde_kappa),
            "watch_teacher_entropy": choices.entropy,
            "watch_mean_choice_entropy": choices.mean_entropy,
            "watch_prototype_share": choices.prototype_share,
            "watch_prototype_perplexity": choices.prototype_perplexity,
            "watch_view_retrieval": views.retrieval,
            "watch_view_overlap": views.overlap,
            **_site(plain, self._seen),
            "watch_bank_s": time.perf_counter() - look_start,
        }

    def _ensure_bank(self) -> None:
        if self._path.exists():
            return
        logger.info("drawing the tiles that this run is watched on, once, into %s", self._path)
        self._draw().save(self._path)


def _spread(plain: TeacherFeatures, kappa: float) -> dict[str, float]:
    spread = spread_gauges(plain.cls, kappa=kappa)
    return {
        "watch_kde": spread.kde,
        "watch_mean_cosine": spread.mean_cosine,
        "watch_feature_std": spread.feature_std,
        "watch_rankme": spread.rankme,
        "watch_alpha_req": alpha_req(plain.cls),
        "watch_cls_patch_cosine": float(plain.cls_patch_cosine.mean()),
    }


def _site(plain: TeacherFeatures, seen: _SeenBank) -> dict[str, float]:
    features = plain.joined.cpu().numpy()
    if not np.isfinite(features).all():
        return {}
    told = site_probe(features, patients=seen.patients, sites=seen.sites, knn=SITE_KNN)
    if told is None:
        return {}
    return {"watch_site_accuracy": told.accuracy, "watch_site_chance": told.chance}

"""How a run is watched, as one value; needs no torch, so that the command line can offer it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from eosin.errors import ConfigError

MIN_BANK = 16
"""Fewer tiles have no spectrum to speak of."""

OF_BANK = (
    "watch_feature_std",
    "watch_rankme",
    "watch_prototype_share",
    "watch_prototype_perplexity",
    "watch_view_retrieval",
    "watch_view_overlap",
)
"""Metrics of the bank of which more is better."""

OF_LABELLED = ("watch_knn_accuracy", "watch_knn_balanced_accuracy")
"""Metrics of labelled tiles, of which more is better too."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """What is looked at while a run goes on, and who is told. It changes no number of the run."""

    every_steps: int | None = None
    """Steps between two looks; when None as many as make looks about one percent of the run, and of
    a short run a tenth of its steps."""
    bank_tiles: int = 256
    """Tiles of the run's slides that the teacher is gauged on; 0 gauges none."""
    labelled_dir: Path | None = None
    """Tiles in class folders, or in train/ and test/ with class folders, that kNN is tried on; give
    train/ and test/ of different patients unless names begin with TCGA barcodes."""
    labelled_max_tiles: int = 1000
    """Of each part that are used."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """What to do when the bank shows a collapse at two looks in a row."""
    keep_best: str | None = None
    """Metric of which the highest value's teacher is kept, such as watch_knn_accuracy (a wrong one
    lists them all); tiles that have chosen it are no test of it any more."""
    tensorboard: bool = False
    """Whether to write metrics for TensorBoard, into the run's folder."""
    wandb_project: str | None = None
    """Project of Weights & Biases to log metrics to."""

    def __post_init__(self) -> None:
        if self.every_steps is not None and self.every_steps < 1:
            raise ConfigError(f"watch.every_steps={self.every_steps} must be at least 1")
        if self.bank_tiles != 0 and self.bank_tiles < MIN_BANK:
            raise ConfigError(
                f"watch.bank_tiles={self.bank_tiles} must be at least {MIN_BANK}, or 0 for none"
            )
        if self.labelled_max_tiles < 2:
            raise ConfigError(
                f"watch.labelled_max_tiles={self.labelled_max_tiles} must be at least 2"
            )
        self._check_keep_best()

    def _check_keep_best(self) -> None:
        if self.keep_best is None:
            return
        if self.keep_best not in OF_BANK + OF_LABELLED:
            raise ConfigError(
                f"watch.keep_best={self.keep_best!r} is no metric of which more is better; choose "
                f"of {', '.join(OF_BANK + OF_LABELLED)}"
            )
        if self.keep_best in OF_LABELLED and self.labelled_dir is None:
            raise ConfigError(
                f"watch.keep_best={self.keep_best!r} is measured on labelled tiles; give "
                "watch.labelled_dir"
            )
        if self.keep_best in OF_BANK and not self.bank_tiles:
            raise ConfigError(
                f"watch.keep_best={self.keep_best!r} is measured on the bank; give watch.bank_tiles"
            )

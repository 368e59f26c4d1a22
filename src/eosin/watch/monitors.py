"""From how a run is to be watched to the monitors that do it."""

from functools import partial

from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides
from eosin.tissue.store import MaskStore
from eosin.train.config import TrainConfig
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.watch.alarm import CollapseAlarm
from eosin.watch.bank import draw_bank
from eosin.watch.bank_watch import IMAGES_A_TILE, BankWatch
from eosin.watch.best import KeepBest
from eosin.watch.labelled_watch import LabelledSet, LabelledWatch
from eosin.watch.schedule import Looks, cheap_spacing
from eosin.watch.settings import Watch
from eosin.watch.tensorboard import TensorBoard
from eosin.watch.throughput import Throughput
from eosin.watch.wandb import WeightsAndBiases


def monitors_for(
    watch: Watch,
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    run: RunFolder,
    *,
    backend: SlideBackend | None = None,
    site: Site | None = None,
) -> list[Monitor]:
    """Return the monitors of a run, in the order in which they must look.

    Nothing is drawn or written yet. The run's folder gets `bank.npz`, and where they are asked for
    `best/`, `tensorboard/` and `wandb.json`.

    Args:
        watch: What to look at.
        config: Of the run.
        slides: The run's.
        run: Its folder.
        backend: Opens the slides.
        site: Of the machine; its masks and threads serve the bank too.

    Raises:
        ConfigError: If fewer labelled tiles are allowed than there are classes.
        InputError: If the labelled tiles cannot be listed.
        MissingDependencyError: If a logger's package is not installed.
    """
    site = site or Site()
    labelled = None
    if watch.labelled_dir is not None:
        labelled = LabelledSet.from_folder(watch.labelled_dir, watch.labelled_max_tiles)
    looks = _looks(watch, config, labelled)
    size_px = config.data.global_px
    monitors: list[Monitor] = [Throughput(config)]
    if watch.bank_tiles:
        draw = partial(
            draw_bank,
            config,
            slides,
            watch.bank_tiles,
            backend=backend,
            mask_store=site.masks or MaskStore(run.masks),
            num_threads=site.num_threads,
            records=run.stream_records(has_manifest=False, anonymous=site.anonymous),
        )
        path, num_tiles = run.path / "bank.npz", watch.bank_tiles
        monitors.append(BankWatch(path, draw, looks, size_px=size_px, num_tiles=num_tiles))
    if labelled is not None:
        monitors.append(LabelledWatch(labelled, looks, size_px=size_px))
    if watch.keep_best is not None:
        monitors.append(KeepBest(run.path / "best", watch.keep_best))
    if watch.tensorboard:
        monitors.append(TensorBoard(run.path / "tensorboard"))
    if watch.wandb_project is not None:
        monitors.append(WeightsAndBiases(run.path, watch.wandb_project, config))
    # Last, so that the others have written what it may end the run for.
    if watch.bank_tiles:
        monitors.append(CollapseAlarm(config, watch.on_collapse))
    return monitors


def _looks(watch: Watch, config: TrainConfig, labelled: LabelledSet | None) -> Looks:
    num_images = IMAGES_A_TILE * watch.bank_tiles
    num_images += 0 if labelled is None else labelled.num_tiles
    every_steps = watch.every_steps or cheap_spacing(config, num_images)
    return Looks(every_steps=every_steps, num_steps=config.steps)

"""Training and export as people run them: with progress, and with words at the end."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import final

from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides
from eosin.errors import ConfigError
from eosin.models.huggingface import export_huggingface
from eosin.progress import Bar, progress_bar
from eosin.recipes.card import model_card
from eosin.train.checkpoint import load_teacher
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import is_main_process

logger = logging.getLogger(__name__)


def train_with_progress(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    out_dir: Path,
    *,
    backend: SlideBackend | None = None,
    site: Site | None = None,
    weights: Path | None = None,
) -> RunFolder:
    """Train with a progress bar, and name the slides that could not be used.

    Under torchrun the first process shows the bar for all.

    Raises:
        EosinError: As `eosin.train.loop.train`.
    """
    is_main = is_main_process()
    with ExitStack() as stack:
        monitors: list[Monitor] = []
        if is_main:
            bar = stack.enter_context(progress_bar("training", config.steps))
            monitors.append(_ProgressMonitor(bar))
        run = train(
            config,
            slides,
            out_dir,
            backend=backend,
            site=site,
            weights=weights,
            monitors=monitors,
        )
    for path, reason in run.quarantine.items() if is_main else ():
        logger.warning("not used: %s: %s", path, reason)
    return run


@final
class _ProgressMonitor(Monitor):
    """Moves a bar on."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def run_started(self, first_step: int, num_steps: int) -> None:
        if first_step:
            self._bar.move_to(first_step, "going on")

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        note = f"loss {metrics['loss']:.3f}, {metrics['patches_per_s']:.0f} patches/s"
        self._bar.move_to(step + 1, note)
        return {}


def export_run(run_path: Path, out: Path) -> None:
    """Write the newest teacher of a run as a Hugging Face folder.

    Raises:
        InputError: If the folder holds no run or no checkpoint.
        ConfigError: If the model cannot be exported without a difference, or `out` holds something
            else.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not _is_export(out)):
        raise ConfigError(f"{out} holds something that is not an export; give a new folder")
    run = RunFolder(run_path)
    config = run.train_config
    step, state_dict = load_teacher(run.checkpoints)
    export_huggingface(
        out.resolve(),
        state_dict,
        config.model,
        mean=config.data.mean,
        std=config.data.std,
        card=model_card(run_path.name, config, step),
        input_size_px=config.data.global_px,
    )


def _is_export(folder: Path) -> bool:
    return (folder / "model.safetensors").exists() and not (folder / "checkpoints").exists()

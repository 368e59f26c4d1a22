"""Training and export as people run them: with progress, and with words at the end."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import final

from eosin.atomic import check_folder
from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides
from eosin.models.huggingface import (
    export_huggingface,
    is_untouched_export,
    resampled_for_huggingface,
)
from eosin.names import get_logger
from eosin.progress import Bar, progress_bar
from eosin.recipes.card import model_card
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import is_main_process
from eosin.watch.monitors import monitors_for
from eosin.watch.settings import Watch
from eosin.watch.teacher import chosen_teacher

logger = get_logger(__name__)


def train_with_progress(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    out_dir: Path,
    *,
    backend: SlideBackend | None = None,
    site: Site | None = None,
    weights: Path | None = None,
    watch: Watch | None = None,
    recipe: str | None = None,
    left_out: Mapping[str, str] | None = None,
) -> RunFolder:
    """Train with a progress bar and all that watches, and name the slides that could not be used.

    Under torchrun the first process shows the bar for all.

    Args:
        config: As the rest, handed on to `eosin.train.loop.train`.
        slides: Of the run.
        out_dir: Of the run.
        backend: Opens the slides.
        site: Of the machine.
        weights: What the run starts from.
        watch: What is looked at; the defaults when None.
        recipe: Name of what the settings began as, for the model card.
        left_out: Slides that were named and are not among `slides`, with the reasons.

    Raises:
        EosinError: As `eosin.train.loop.train`.
    """
    is_main = is_main_process()
    with ExitStack() as stack:
        run = RunFolder(out_dir)
        monitors = monitors_for(watch or Watch(), config, slides, run, backend=backend, site=site)
        if is_main:
            bar = stack.enter_context(progress_bar("training", config.steps))
            monitors.append(_ProgressMonitor(bar, run, left_out or {}))
        run = train(
            config,
            slides,
            out_dir,
            backend=backend,
            site=site,
            weights=weights,
            monitors=monitors,
            recipe=recipe,
        )
    for path, reason in run.quarantine.items() if is_main else ():
        logger.warning("not used: %s: %s", path, reason)
    return run


@final
class _ProgressMonitor(Monitor):
    """Moves a bar on, and writes down at the start what the run leaves out."""

    def __init__(self, bar: Bar, run: RunFolder, left_out: Mapping[str, str]) -> None:
        self._bar, self._run, self._left_out = bar, run, left_out

    def run_started(self, first_step: int, num_steps: int) -> None:
        if self._left_out or self._run.left_out:
            self._run.write_left_out(self._left_out)
        if first_step:
            self._bar.move_to(first_step, "going on")

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        note = f"loss {metrics['loss']:.3f}, {metrics['patches_per_s']:.0f} patches/s"
        self._bar.move_to(step + 1, note)
        return {}


def export_run(run_path: Path, out: Path, *, is_best: bool = False, num_averaged: int = 1) -> None:
    """Write a teacher of a run as a Hugging Face folder.

    Args:
        run_path: Folder of the run.
        out: Folder to write; replaced if it is an export with nothing else in it.
        is_best: Take the teacher that the run has kept as its best, not the newest.
        num_averaged: Take the mean of the teachers of that many newest checkpoints.

    Raises:
        InputError: If the folder holds no run or no such teacher.
        ConfigError: If `out` holds something else, or both a best and a mean are asked for.
        WriteError: If the folder cannot be written, such as on a full disk.
    """
    hint = (
        "the mark is missing, as in exports of earlier versions, there are other files, or the "
        "card or a setting was edited"
    )
    check_folder(out, "an export", is_ours=is_untouched_export, inputs=[run_path], hint=hint)
    run = RunFolder(run_path)
    config = run.train_config
    teacher = chosen_teacher(run, is_best=is_best, num_averaged=num_averaged)
    input_size_px = config.data.global_px
    weights, model, resampled = resampled_for_huggingface(
        teacher.backbone, config.model, input_size_px=input_size_px
    )
    note = " ".join(sentence for sentence in (teacher.note, resampled) if sentence)
    export_huggingface(
        out,
        weights,
        model,
        mean=config.data.mean,
        std=config.data.std,
        card=model_card(run_path.name, config, teacher.step, recipe=run.recipe, note=note),
        input_size_px=input_size_px,
    )

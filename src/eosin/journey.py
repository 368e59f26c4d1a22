"""The steps of the journey as people run them: with progress, and with words at the end."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from torch import nn

from eosin.backends.files import find_slides
from eosin.backends.openslide import OpenSlideBackend
from eosin.embed.colour import ColourHistogram
from eosin.embed.encoder import Encoder, ViTEncoder, load_encoder
from eosin.embed.extract import Extraction, SlideOutcome, embed_slides
from eosin.models.huggingface import export_huggingface
from eosin.progress import Bar, progress_bar
from eosin.recipes.card import model_card
from eosin.sampling.grid import GridSampler
from eosin.tissue.hsv import HSVTissueDetector
from eosin.train.checkpoint import load_teacher
from eosin.train.config import TrainConfig
from eosin.train.loop import Site, initial_model, train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder

logger = logging.getLogger(__name__)


def train_with_progress(
    config: TrainConfig,
    slides: Sequence[str | Path],
    out_dir: Path,
    *,
    device: str = "auto",
    num_threads: int = 2,
    mpp_overrides: Mapping[str, float] | None = None,
) -> RunFolder:
    """Train with a progress bar, and name the slides that could not be used.

    Raises:
        EosinError: As `eosin.train.loop.train`.
    """
    with progress_bar("training", config.steps) as bar:
        run = train(
            config,
            slides,
            out_dir,
            backend=OpenSlideBackend(mpp_overrides=dict(mpp_overrides or {})),
            site=Site(device=device, num_threads=num_threads),
            monitors=[_ProgressMonitor(bar)],
        )
    for path, reason in run.quarantine.items():
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
        self, step: int, metrics: Mapping[str, float | int], teacher: nn.Module
    ) -> Mapping[str, float | int]:
        note = f"loss {metrics['loss']:.3f}, {metrics['patches_per_s']:.0f} patches/s"
        self._bar.move_to(step + 1, note)
        return {}


def export_run(run_path: Path, out: Path) -> None:
    """Write the newest teacher of a run as a Hugging Face folder.

    Raises:
        InputError: If the folder holds no run or no checkpoint.
        ConfigError: If the model cannot be exported without a difference.
    """
    run = RunFolder(run_path)
    config = run.train_config
    step, state_dict = load_teacher(run.checkpoints)
    export_huggingface(
        out,
        state_dict,
        config.model,
        mean=config.data.mean,
        std=config.data.std,
        card=model_card(run_path.name, config, step),
        input_size_px=config.data.global_px,
    )


def open_model(path: Path, device: str = "auto") -> ViTEncoder:
    """Return the encoder of a run or a Hugging Face folder, on a device.

    Raises:
        InputError: If the folder is neither.
        ConfigError: If the device is not here.
    """
    return load_encoder(path, Site(device=device).torch_device())


def open_models(path: Path, device: str = "auto", *, with_initial: bool) -> dict[str, Encoder]:
    """Return a model after what it is measured against: colour, and where its run began.

    Raises:
        InputError: If the folder is no model, or the initialisation of an export is asked for.
        ConfigError: If the device is not here.
    """
    model = open_model(path, device)
    models: dict[str, Encoder] = {"colour histogram": ColourHistogram(model.input_size_px)}
    if with_initial:
        models["random"] = initial_encoder(RunFolder(path).train_config)
    return {**models, "trained": model}


def initial_encoder(config: TrainConfig) -> ViTEncoder:
    """Return the encoder that a run begins with, on the CPU."""
    return ViTEncoder(
        "random initialisation",
        initial_model(config).teacher["backbone"].state_dict(),
        config.model,
        input_size_px=config.data.global_px,
        mean=config.data.mean,
        std=config.data.std,
    )


def embed_with_progress(
    encoder: Encoder,
    slides: Sequence[str | Path],
    out_dir: Path,
    *,
    grid: GridSampler,
    batch_size: int = 64,
    num_threads: int = 2,
    mpp_overrides: Mapping[str, float] | None = None,
) -> int:
    """Embed slides with a progress bar and return how many failed, each named with its reason."""
    paths = find_slides(list(slides))
    extraction = Extraction(
        backend=OpenSlideBackend(mpp_overrides=dict(mpp_overrides or {})),
        tissue_detector=HSVTissueDetector(),
        grid=grid,
        batch_size=batch_size,
        num_threads=num_threads,
    )
    outcomes: list[SlideOutcome] = []
    with progress_bar("embedding", len(paths)) as bar:
        for outcome in embed_slides(encoder, paths, out_dir, extraction):
            outcomes.append(outcome)
            bar.advance(note=Path(outcome.slide_path).name)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        logger.warning("not embedded: %s: %s", outcome.slide_path, outcome.reason)
    for outcome in outcomes:
        if outcome.num_unreadable:
            logger.warning(
                "%s: %d patches could not be read and are left out",
                outcome.slide_path,
                outcome.num_unreadable,
            )
    return len(failed)

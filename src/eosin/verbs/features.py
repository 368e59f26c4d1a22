"""Commands about features: make them, judge them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from eosin.atomic import check_file, check_folder, write_atomic
from eosin.errors import EosinError
from eosin.plain import to_json
from eosin.verbs.arguments import (
    Choice,
    ChoiceOf,
    DetectorName,
    Model,
    Slides,
    choose,
    warn_of_other_masks,
)


@dataclass(kw_only=True)
class EmbedVerb:
    """Write features of slides, one HDF5 file each; slides already done are left alone."""

    model: Model
    """A run, or a Hugging Face folder of a DINOv2 model."""
    slides: Slides
    """A folder of slides, slides, or an index."""
    out_dir: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the feature files."""
    mpp: float = 0.5
    """Microns per pixel of the patches."""
    patch_size: int = 256
    """Pixels of a patch, resized to what the model takes."""
    stride: int | None = None
    """Pixels from one patch to the next; the patch size by default."""
    tissue_threshold: float = 0.4
    """Least share of tissue in a patch."""
    tissue_detector: DetectorName = "hsv"
    """What finds tissue, as in `eosin scan`: with the same as there, its masks are used."""
    batch_size: int = 64
    device: str = "auto"
    mean: tuple[float, float, float] | None = None
    """Mean of the colours (R G B, white is 1) that a Hugging Face model wants taken away, in place
    of what its folder says."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the colours, as --mean."""
    num_threads: int = 2
    anonymous: bool = False
    """Name the files and slides by their content instead of by the slides' files."""
    choice: ChoiceOf = field(default_factory=Choice)


@dataclass(kw_only=True)
class EvaluateVerb:
    """Probe a model on labelled tiles: kNN and a linear classifier, with 95 % intervals.

    A colour histogram is probed beside it, which any model has to beat.
    """

    model: Model
    """A run, or a Hugging Face folder of a DINOv2 model."""
    data_dir: Path
    """Holds train/CLASS/*.png and test/CLASS/*.png."""
    with_initial: bool = False
    """Probe the run's own random initialisation as well, and say the difference; not for a run that
    began from weights."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file with the numbers and every prediction."""
    device: str = "auto"
    mean: tuple[float, float, float] | None = None
    """Mean of the colours (R G B, white is 1) that a Hugging Face model wants taken away, in place
    of what its folder says."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the colours, as --mean."""


def embed(args: EmbedVerb) -> None:
    from eosin.appraisal import embed_with_progress, open_model
    from eosin.sampling.grid import GridSampler
    from eosin.tissue.doubt import DETECTORS

    grid = GridSampler(
        patch_size=args.patch_size,
        stride=args.stride,
        target_mpp=args.mpp,
        tissue_threshold=args.tissue_threshold,
    )
    check_folder(args.out_dir, "a folder of features", inputs=[args.model])
    encoder = open_model(args.model, args.device, mean=args.mean, std=args.std)
    detector = DETECTORS[args.tissue_detector]
    chosen = choose(args.slides, args.choice)
    warn_of_other_masks(chosen.masks, detector)
    if args.anonymous:
        chosen = chosen.anonymous()
    num_failed = embed_with_progress(
        encoder,
        [entry.path for entry in chosen.entries],
        args.out_dir,
        grid=grid,
        batch_size=args.batch_size,
        num_threads=args.num_threads,
        backend=chosen.backend,
        masks=chosen.masks,
        tissue_source=detector,
    )
    print(args.out_dir)
    if num_failed:
        raise EosinError(f"{num_failed} slides could not be embedded, see above; the others are")


def evaluate(args: EvaluateVerb) -> None:
    from eosin.appraisal import open_models
    from eosin.evaluate.comparison import is_record
    from eosin.evaluate.tiles import evaluate_tiles, list_tiles

    # Opening a large model and embedding take long: refuse a wrong place and wrong tiles before.
    if args.out is not None:
        kind = "a JSON file of numbers"
        check_file(args.out, kind, is_ours=is_record, inputs=[args.model, args.data_dir])
    tiles = list_tiles(args.data_dir)
    models = open_models(
        args.model, args.device, with_initial=args.with_initial, mean=args.mean, std=args.std
    )
    comparison = evaluate_tiles(models, tiles)
    try:
        # Before they are written, and written also where nobody reads what is printed: the work of
        # hours must not be lost.
        print(comparison.describe(), flush=True)
    finally:
        if args.out is not None:
            weights = {name: encoder.weights_sha256 for name, encoder in models.items()}
            record = {"model": str(args.model), "weights_sha256": weights, **comparison.to_json()}
            write_atomic(args.out, to_json(record, indent=1), is_ours=is_record)

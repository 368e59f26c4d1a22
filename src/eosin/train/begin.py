"""Everything that a run needs before its first step: settings, stream, networks, where it was."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import final

import torch

from eosin.augment.views import DeviceViews
from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides
from eosin.errors import ConfigError
from eosin.loader import Share
from eosin.models.positions import position_shift
from eosin.models.start import start_from
from eosin.models.weights import SourceWeights, read_weights
from eosin.names import get_logger
from eosin.pipeline import PatchPipeline
from eosin.plain import fingerprint, to_plain
from eosin.tissue.store import MaskStore
from eosin.train.checkpoint import list_checkpoints, load_newest
from eosin.train.config import TrainConfig
from eosin.train.out_dir import refuse_files_of_others
from eosin.train.parallel import lay_out
from eosin.train.precision import fast_bfloat16
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.step import initial_model, make_optimizer
from eosin.train.stream import make_pipeline
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World

logger = get_logger(__name__)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What a run works with once it has begun."""

    config: TrainConfig
    """Its precision is decided."""
    run: RunFolder
    world: World
    model: StudentTeacher
    optimizer: torch.optim.Optimizer
    pipeline: PatchPipeline
    share: Share
    device_views: DeviceViews | None
    first_step: int
    num_skipped: int
    """Steps in a row up to the first one that were not finite, so that a stop forgives none."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Slides that any rank could not use up to the newest checkpoint, each with the reason."""


def begin(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    run: RunFolder,
    world: World,
    *,
    backend: SlideBackend | None,
    site: Site,
    weights: Path | None,
    stack: ExitStack,
) -> Session:
    """Claim the run's folder, build everything, and go to where the run was.

    Arguments and errors are those of `train`; `stack` is given what must be closed at the end.
    """
    config = _with_precision(config, run, world)
    device_views = _device_views(config, world.device)
    share = _share(config, world)
    if world.is_main:
        _warn_of_long_warmup(config)
    _check_manifest(site, world)
    pipeline = make_pipeline(
        config,
        slides,
        backend=backend,
        num_threads=site.num_threads,
        prefetch_bytes=site.prefetch_bytes,
        defer_views=device_views is not None,
        mask_store=site.masks or MaskStore(run.masks),
        records=run.stream_records(has_manifest=site.has_manifest, anonymous=site.anonymous),
    )
    stack.callback(pipeline.close)
    _check_all_alike(config, pipeline, world)
    is_new = world.on_main(lambda: _lock(run, config, stack))
    model, start = _initial(config, weights) if is_new else (initial_model(config), None)
    world.on_main(lambda: _claim(run, config, start))
    lay_out(model, world, site.layout, is_bfloat16=config.precision == "bfloat16")
    model.to(world.device)
    optimizer = make_optimizer(model, config)
    # Now, as the first checkpoint may have to be written in the last minutes of a job.
    pipeline.identify_slides(world.on_main(pipeline.identify_slides))
    restored = load_newest(run.checkpoints, model=model, optimizer=optimizer, world=world)
    if restored is not None:
        pipeline.load_state_dict(restored.stream, extend=site.extend)
        logger.info("going on with %s at step %d", run.path, restored.step)
    first_step = 0 if restored is None else restored.step
    num_skipped = world.on_main(lambda: _write_down(run, pipeline, first_step))
    return Session(
        config=config,
        run=run,
        world=world,
        model=model,
        optimizer=optimizer,
        pipeline=pipeline,
        share=share,
        device_views=device_views,
        first_step=first_step,
        num_skipped=num_skipped,
    )


def _with_precision(config: TrainConfig, run: RunFolder, world: World) -> TrainConfig:
    """Decide what `auto` is: what the run has been, or what the device is faster in."""
    if config.precision != "auto":
        return config
    if world.on_main(lambda: run.exists() and run.has_trained()):
        return replace(config, precision=world.on_main(lambda: run.train_config.precision))
    is_fast = world.on_main(lambda: fast_bfloat16(world.device))
    return replace(config, precision="bfloat16" if is_fast else "float32")


def _share(config: TrainConfig, world: World) -> Share:
    """Return what this rank has of every step, refused before anything is written."""
    share = Share(
        batch_size=config.global_batch,
        num_parts=config.accumulation_steps,
        rank=world.rank,
        world_size=world.size,
    )
    share.check_lanes(config.data.num_lanes)
    return share


def _warn_of_long_warmup(config: TrainConfig) -> None:
    teacher = config.teacher
    is_rising = teacher.warmup_temperature < teacher.temperature
    if is_rising and teacher.warmup_temperature_steps > config.steps:
        logger.warning(
            "the teacher's temperature will not get to %g, as its "
            "teacher.warmup_temperature_steps=%d are more than steps=%d; shorten them "
            "(--teacher.warmup-temperature-steps)",
            teacher.temperature,
            teacher.warmup_temperature_steps,
            config.steps,
        )


def _check_manifest(site: Site, world: World) -> None:
    if site.has_manifest and world.size > 1:
        raise ConfigError(
            f"a manifest is written by one process, and {world.size} train; leave it out, or train "
            "in one process"
        )


def _check_all_alike(config: TrainConfig, pipeline: PatchPipeline, world: World) -> None:
    """Refuse ranks that were started with other settings, or that see other slides."""
    names = [Path(slide).name for slide in pipeline.slides]
    everybodys = world.gather((fingerprint(to_plain(config)), fingerprint(names), len(names)))
    main_settings, main_slides, main_num = everybodys[0]
    for rank, (settings, slides, num) in enumerate(everybodys):
        if settings != main_settings:
            raise ConfigError(
                f"rank {rank} was started with other settings than rank 0; start all processes "
                "with the same command"
            )
        if slides != main_slides:
            raise ConfigError(
                f"rank {rank} sees {num} slides and rank 0 sees {main_num}, by other names or in "
                "another order; all nodes must see the same slides"
            )


def _device_views(config: TrainConfig, device: torch.device) -> DeviceViews | None:
    if config.data.augment_on == "cpu":
        return None
    data = config.data
    return DeviceViews(shared=data.shared_transforms, views=data.views, device=device)


def _lock(run: RunFolder, config: TrainConfig, stack: ExitStack) -> bool:
    """Lock the folder until the run ends and return whether nothing was trained in it yet."""
    refuse_files_of_others(run.path)
    stack.enter_context(run.locked())
    run.crash_log.take_stock()
    if run.exists() and run.has_trained():
        run.claim(to_plain(config))
    return not list_checkpoints(run.checkpoints)


def _claim(run: RunFolder, config: TrainConfig, start: Mapping[str, object] | None) -> None:
    # Only now, so that weights that do not fit leave no run behind.
    if run.exists() and not run.has_trained():
        # As when the bank could not be drawn: no other start shall be bound to its settings.
        logger.info("nothing was trained in %s yet, so that it begins anew", run.path)
        run.forget_start()
    run.claim(to_plain(config))
    if start is not None:
        run.write_start(start)


def _initial(
    config: TrainConfig, weights: Path | None
) -> tuple[StudentTeacher, dict[str, object] | None]:
    """Return the networks that a run begins with, and in detail what they started from."""
    # Read before networks are built, which can take minutes.
    check_start(config, weights)
    source = None if weights is None else read_weights(weights)
    model = initial_model(config)
    return model, None if source is None else _take_weights(model, source)


def check_start(config: TrainConfig, weights: Path | None) -> None:
    """Refuse weights that a run needs and has not, or has and would not use, without reading them.

    Raises:
        ConfigError: If they and `config.start` do not go together.
        InputError: If they are not there.
    """
    if config.start == "random" and weights is not None:
        raise ConfigError(
            f"weights={weights} would not be used, as the run starts at random; say "
            "start=backbone (--start backbone) or start=run"
        )
    if config.start != "random" and weights is None:
        is_run = config.start == "run"
        kind = "a run" if is_run else "a backbone, such as facebook/dinov2-giant"
        raise ConfigError(
            f"start={config.start!r} needs the weights of {kind}: give its folder or file "
            "(--weights), or say start=random (--start random)"
        )
    if weights is not None and not weights.exists():
        read_weights(weights)  # says so, and what to do


def _take_weights(model: StudentTeacher, source: SourceWeights) -> dict[str, object]:
    """Put weights into both networks, and return which, in detail."""
    start, config = model.config.start, model.config.model
    report = start_from(model.student, model.teacher, source, with_heads=start == "run")
    sides_px = [model.config.data.crop_size(kind) for kind in model.config.data.kinds]
    shifts = position_shift(
        model.student["backbone"].state_dict(),
        config,
        sides_px,
        trained_with=source.trained_with,
    )
    logger.info("%s", report.summary())
    for side_px, shift in shifts.items():
        logger.info(
            "positions of crops of %d px differ by %.2f %% from those that the weights were "
            "trained with",
            side_px,
            100 * shift,
        )
    by_side = {str(side_px): shift for side_px, shift in shifts.items()}
    return {**asdict(report), "position_shift": by_side}


def _write_down(run: RunFolder, pipeline: PatchPipeline, first_step: int) -> int:
    """Bring the folder to where the run goes on; return how many steps were skipped before it."""
    run.write_down(pipeline.entries, to_plain(pipeline.backend))
    run.forget_steps_from(first_step)
    return run.num_skipped_before(first_step)

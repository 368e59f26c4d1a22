"""A run from its configuration: stream, step, write down, checkpoint; stopped, it goes on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import torch

from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides, slide_key
from eosin.errors import InterruptedRunError, TrainingError
from eosin.loader import Batch, train_batches
from eosin.names import get_logger
from eosin.stream.result import PatchResult
from eosin.train.begin import Session, begin
from eosin.train.checkpoint import save_checkpoint
from eosin.train.config import TrainConfig
from eosin.train.monitors import Monitor
from eosin.train.pages import kept_pages
from eosin.train.rates import Rates, RateSchedules
from eosin.train.run_folder import RunFolder
from eosin.train.signals import StopRequest
from eosin.train.site import Site
from eosin.train.step import is_finite, train_step
from eosin.train.world import joined_world

logger = get_logger(__name__)

_MAX_SKIPPED_IN_A_ROW = 3
_Metrics = dict[str, float | int]


def train(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    out_dir: Path,
    *,
    backend: SlideBackend | None = None,
    site: Site | None = None,
    weights: Path | None = None,
    monitors: Sequence[Monitor] = (),
    recipe: str | None = None,
) -> RunFolder:
    """Train a model on slides; goes on by itself when `out_dir` holds the same run.

    Samples are the same whether or not it was interrupted, and on a CPU losses too, on the same
    machine; on a GPU torch's kernels add up in any order. Under torchrun its processes share the
    run; more or fewer of them change what is rounded, and what stochastic depth drops.

    Args:
        config: Of the run.
        slides: A folder, a file, a table or index, a list of them, or what was listed before.
        out_dir: Of the run; all processes must see it.
        backend: Opens the slides.
        site: Of the machine.
        weights: What the run starts from where `config.start` is not random; not needed to go on.
        monitors: Watch the run, in every process alike.
        recipe: Name of what the settings began as, written down for people.

    Raises:
        ConfigError: If settings do not fit together or to the processes, or a device is not here.
        CheckpointError: If `out_dir` holds another run, or no checkpoint of it can be read, or the
            weights to start from do not fit.
        InterruptedRunError: If SIGTERM, SIGUSR1 or Ctrl-C asked it to stop; it has saved.
        StreamStalledError: If the slides do not give patches.
        TrainingError: If the loss is not finite for several steps in a row, or a step does not fit
            into the memory of a GPU.
    """
    site = site or Site()
    run = RunFolder(out_dir)
    with (
        joined_world(site.device, num_replicas=site.layout.num_replicas) as world,
        kept_pages(world.device),
        ExitStack() as stack,
    ):
        session = begin(
            *(config, slides, run, world),
            backend=backend,
            site=site,
            weights=weights,
            stack=stack,
        )
        if world.is_main and recipe is not None:
            run.write_recipe(recipe)
        stop = StopRequest()
        stack.push(stop)
        stack.callback(_write_last_quarantine, session)
        _start_monitors(session, monitors, stack)
        # Up to here nothing is lost, and a signal ends the process at once, as it does to any.
        stop.listen()
        _run_steps(session, monitors, stop)
    return run


def _start_monitors(session: Session, monitors: Sequence[Monitor], stack: ExitStack) -> None:
    for monitor in monitors:
        stack.callback(monitor.run_ended)
        monitor.run_started(session.first_step, session.config.steps)


def _run_steps(session: Session, monitors: Sequence[Monitor], stop: StopRequest) -> None:
    config, world, model = session.config, session.world, session.model
    schedules = RateSchedules(config)
    num_skipped = session.num_skipped
    num_done = num_saved = session.first_step
    for parts, wait_s in _timed(_batches(session, stop), session, stop):
        step, step_start = parts[0].step, time.perf_counter()
        rates = schedules.at(step)
        measured = _stepped(session, parts, rates)
        _deliver(session, parts)
        num_skipped = 0 if is_finite(measured) else num_skipped + 1
        metrics = measured | _rates(rates) | _data(session, parts)
        metrics |= _times(config, wait_s, time.perf_counter() - step_start)
        for monitor in monitors:
            metrics |= monitor.step_done(step, metrics, model)
        if world.is_main:
            session.run.append_metrics({"step": step, **metrics})
        if num_skipped:
            _complain(session, parts, metrics, num_skipped)
        num_done = step + 1
        if num_done % config.checkpoint_every_steps == 0 or num_done == config.steps:
            _save(session, num_done)
            num_saved = num_done
        for monitor in monitors:
            monitor.step_written(step)
    if num_done < config.steps:
        if num_saved < num_done:
            _save(session, num_done)
        raise InterruptedRunError(step=num_done)


def _stepped(session: Session, parts: Sequence[Batch], rates: Rates) -> dict[str, float]:
    try:
        return train_step(session.model, session.optimizer, parts, rates, session.world)
    except torch.OutOfMemoryError as error:
        config = session.config
        raise TrainingError(
            f"{session.world.device} has too little memory for parts of {config.part_batch} "
            f"patches ({str(error).splitlines()[0]}); fit the run to the machine (--preset), "
            f"recompute blocks (--layout.recompute-blocks), or begin anew with more than "
            f"accumulation_steps={config.accumulation_steps}"
        ) from error


def _batches(session: Session, stop: StopRequest) -> Iterator[tuple[Batch, ...]]:
    config = session.config
    return train_batches(
        session.pipeline,
        steps=range(session.first_step, config.steps),
        share=session.share,
        grid_size=config.data.global_px // config.model.patch_size,
        masking=config.masking,
        device_views=session.device_views,
        is_pinned=session.world.device.type == "cuda",
        is_left=lambda: stop.requested,
    )


def _deliver(session: Session, parts: Sequence[Batch]) -> None:
    """Count what was trained on, which a step that was put together ahead may never be."""
    for sample in chain.from_iterable(batch.samples for batch in parts):
        session.pipeline.deliver(sample)


def _save(session: Session, num_done: int) -> None:
    config, pipeline = session.config, session.pipeline
    session.world.on_main(session.run.flush_metrics)
    pipeline.next_index = num_done * config.global_batch
    save_checkpoint(
        session.run.checkpoints,
        step=num_done,
        model=session.model,
        optimizer=session.optimizer,
        stream=pipeline.state_dict() if session.world.is_main else None,
        world=session.world,
        keep=config.keep_checkpoints,
        keep_every=config.keep_every_steps,
    )
    for quarantined in session.world.gather(pipeline.quarantined):
        session.quarantined.update(quarantined)
    session.world.on_main(lambda: _write_quarantine(session))


def _write_quarantine(session: Session) -> None:
    """Write down what the ranks could not use up to the newest checkpoint, and this one since."""
    session.run.write_quarantine(session.quarantined | session.pipeline.quarantined)


def _write_last_quarantine(session: Session) -> None:
    """Write it down once more at the end, alone: an error may have ended the other ranks."""
    if session.world.is_main:
        try:
            _write_quarantine(session)
        except TrainingError as error:
            # The run has ended, and how it did must not be hidden.
            logger.warning("%s", error)


def _any_asks_to_stop(session: Session, stop: StopRequest) -> bool:
    asked = torch.tensor(float(stop.requested))
    return bool(session.world.highest(asked) > 0)


def _timed(
    batches: Iterator[tuple[Batch, ...]], session: Session, stop: StopRequest
) -> Iterator[tuple[tuple[Batch, ...], float]]:
    """Yield batches until any rank is asked to stop, each with the seconds of waiting for it.

    A rank that is asked to stop waits for no batch, which can take minutes, but for the others.
    """
    while True:
        wait_start = time.perf_counter()
        parts = None if stop.requested else next(batches, None)
        if _any_asks_to_stop(session, stop) or parts is None:
            return
        yield parts, time.perf_counter() - wait_start


def _rates(rates: Rates) -> _Metrics:
    return {
        "lr": rates.lr,
        "weight_decay": rates.weight_decay,
        "teacher_momentum": rates.teacher_momentum,
        "teacher_temperature": rates.teacher_temperature,
    }


def _data(session: Session, parts: Sequence[Batch]) -> _Metrics:
    """Return what the step was trained on, over all ranks."""
    samples = [sample for batch in parts for sample in batch.samples]
    mine = torch.tensor(
        [
            sum(batch.places_sum for batch in parts),
            sum(len(sample.rejections) for sample in samples),
        ]
    )
    places_sum, num_rejections = session.world.total(mine).tolist()
    first = parts[0].step * session.config.global_batch
    return {
        "first_sample": first,
        "last_sample": first + session.config.global_batch - 1,
        "places_sum": places_sum,
        "num_rejections": num_rejections,
    }


def _times(config: TrainConfig, wait_s: float, step_s: float) -> _Metrics:
    return {
        "data_wait_s": wait_s,
        "step_s": step_s,
        "patches_per_s": config.global_batch / (wait_s + step_s),
    }


def _provenance(sample: PatchResult, *, anonymous: bool) -> dict[str, object]:
    at = sample.coordinate
    key = slide_key(str(sample.slide_metadata["fingerprint"]))
    return {
        "index": sample.index,
        "slide": key if anonymous else at.slide_path,
        "x": at.x,
        "y": at.y,
        "level": at.level,
        "mpp": at.mpp,
    }


def _complain(
    session: Session, parts: Sequence[Batch], metrics: Mapping[str, float | int], num_skipped: int
) -> None:
    """Write down what a step that was skipped was computed from; end the run after several."""
    step = parts[0].step
    anonymous = session.pipeline.anonymous
    samples = (sample for batch in parts for sample in batch.samples)
    mine = [_provenance(sample, anonymous=anonymous) for sample in samples]
    everybodys = list(chain.from_iterable(session.world.gather(mine)))
    path = session.run.nonfinite
    if session.world.is_main:
        session.run.append_nonfinite({"step": step, "loss": metrics["loss"], "samples": everybodys})
    logger.warning(
        "step %d has a loss or gradient that is not finite and changed nothing (%d in a row); its "
        "samples are in %s",
        step,
        num_skipped,
        path,
    )
    if num_skipped >= _MAX_SKIPPED_IN_A_ROW:
        raise TrainingError(
            f"loss or gradient was not finite for {num_skipped} steps in a row, up to step "
            f"{step}; lower the learning rate, or look at the samples in {path}"
        )

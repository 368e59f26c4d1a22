"""A run from its configuration: stream, step, write down, checkpoint; stopped, it goes on."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from eosin.augment.views import DeviceViews
from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides
from eosin.errors import ConfigError, TrainingError
from eosin.loader import Batch, to_model_input, train_batches
from eosin.pipeline import PatchPipeline
from eosin.plain import to_plain
from eosin.randomness import Purpose, rng_at
from eosin.tissue.store import MaskStore
from eosin.train.checkpoint import TrainState, load_newest, save_checkpoint
from eosin.train.config import TrainConfig
from eosin.train.monitors import Monitor
from eosin.train.param_groups import backbone_groups, head_groups, set_rates
from eosin.train.rates import Rates, RateSchedules
from eosin.train.run_folder import RunFolder
from eosin.train.stream import make_pipeline
from eosin.train.student_teacher import StudentTeacher, collapse_gauges

logger = logging.getLogger(__name__)

_MAX_SKIPPED_IN_A_ROW = 3


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What belongs to the machine and not to the run."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU when there is one."""
    num_threads: int = 2
    """Threads that read patches ahead."""
    masks: MaskStore | None = None
    """Tissue masks that are there already; else the run keeps its own."""
    has_manifest: bool = False
    """Whether to write down every patch that is trained on."""
    extend: bool = False
    """Whether to go on with a slide list that has changed."""

    def torch_device(self) -> torch.device:
        """Return the device.

        Raises:
            ConfigError: If there is no such device here.
        """
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError) as error:
            first_line = str(error).splitlines()[0]
            raise ConfigError(f"device={self.device!r} is not here: {first_line}") from error
        return torch.device(name)


def train(
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    out_dir: Path,
    *,
    backend: SlideBackend | None = None,
    site: Site | None = None,
    monitors: Sequence[Monitor] = (),
) -> RunFolder:
    """Train a model on slides; goes on by itself when `out_dir` holds the same run.

    Losses and samples are the same whether or not it was interrupted, on the same machine.

    Raises:
        ConfigError: If settings do not fit together, or the device is not here.
        CheckpointError: If `out_dir` holds another run, or no checkpoint of it can be read.
        StreamStalledError: If the slides do not give patches.
        TrainingError: If the loss is not finite for several steps in a row.
    """
    site = site or Site()
    device = site.torch_device()
    device_views = _device_views(config, device)
    run = RunFolder(out_dir)
    pipeline = make_pipeline(
        config,
        slides,
        backend=backend,
        num_threads=site.num_threads,
        defer_views=device_views is not None,
        mask_store=site.masks or MaskStore(run.masks),
        records=run.stream_records(has_manifest=site.has_manifest),
    )
    with run.locked():
        run.crash_log.take_stock()
        run.claim(to_plain(config))
        model = initial_model(config).to(device)
        optimizer = make_optimizer(model, config)
        first_step = _resume(run, model, optimizer, pipeline, site)
        run.write_down(pipeline.slides, to_plain(pipeline.backend))
        run.forget_metrics_from(first_step)
        for monitor in monitors:
            monitor.run_started(first_step, config.steps)
        try:
            _run_steps(first_step, run, model, optimizer, pipeline, device_views, monitors)
        finally:
            run.write_quarantine(pipeline.quarantined)
            pipeline.close()
    return run


def initial_model(config: TrainConfig) -> StudentTeacher:
    """Return the networks that a run begins with."""
    _seed_torch(config.seed, step=0, part=1)
    return StudentTeacher(config)


def make_optimizer(model: StudentTeacher, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW with the learning rates and weight decays of each group."""
    optim = config.optim
    groups = backbone_groups(
        model.parts["backbone"],
        depth=config.model.depth,
        layer_decay=optim.layer_decay,
        patch_embed_lr_multiplier=optim.patch_embed_lr_multiplier,
    )
    for name, part in model.parts.items():
        if name != "backbone":
            groups += head_groups(part)
    return torch.optim.AdamW(
        [dict(group) for group in groups], lr=config.peak_lr, betas=optim.betas, eps=optim.eps
    )


def train_step(
    model: StudentTeacher,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rates: Rates,
    device: torch.device,
) -> dict[str, Tensor]:
    """Do one optimiser step and return what it measured, still on the device."""
    config = model.config
    mean, std = config.data.mean, config.data.std
    global_crops = to_model_input(batch.global_crops, mean, std, device)
    local_crops = to_model_input(batch.local_crops, mean, std, device)
    masks = batch.masks.to(device, non_blocking=True)
    set_rates(
        optimizer,
        lr=rates.lr,
        last_layer_lr=rates.last_layer_lr,
        weight_decay=rates.weight_decay,
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        terms, tokens = model.losses(global_crops, local_crops, masks, rates.teacher_temperature)
    total = torch.stack(list(terms.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    norms = {
        name: nn.utils.clip_grad_norm_(part.parameters(), config.optim.max_grad_norm)
        for name, part in model.parts.items()
    }
    if torch.isfinite(total) and all(torch.isfinite(norm) for norm in norms.values()):
        optimizer.step()
        model.update_teacher(rates.teacher_momentum)
    optimizer.zero_grad(set_to_none=True)
    gauges = collapse_gauges(tokens.cls[: len(tokens.cls) // 2].detach())
    return {
        "loss": total.detach(),
        **{name: term.detach() for name, term in terms.items()},
        **{f"grad_norm_{name}": norm for name, norm in norms.items()},
        **gauges,
    }


def _device_views(config: TrainConfig, device: torch.device) -> DeviceViews | None:
    if config.data.augment_on == "cpu":
        return None
    data = config.data
    return DeviceViews(shared=data.shared_transforms, views=data.views, device=device)


def _run_steps(
    first_step: int,
    run: RunFolder,
    model: StudentTeacher,
    optimizer: torch.optim.Optimizer,
    pipeline: PatchPipeline,
    device_views: DeviceViews | None,
    monitors: Sequence[Monitor],
) -> None:
    config = model.config
    device = next(model.parameters()).device
    schedules = RateSchedules(config)
    batches = train_batches(
        pipeline,
        steps=range(first_step, config.steps),
        batch_size=config.global_batch,
        grid_size=config.data.global_px // config.model.patch_size,
        masking=config.masking,
        device_views=device_views,
    )
    num_skipped = 0
    for batch, wait_s in _timed(batches):
        step_start = time.perf_counter()
        rates = schedules.at(batch.step)
        # Stochastic depth draws from torch's generator; seeded by the step, it needs no state.
        _seed_torch(config.seed, batch.step, part=0)
        measured = train_step(model, optimizer, batch, rates, device)
        metrics: dict[str, float | int] = {name: float(value) for name, value in measured.items()}
        num_skipped = 0 if _is_finite(metrics) else num_skipped + 1
        metrics |= _describe(batch, rates, wait_s, time.perf_counter() - step_start)
        for monitor in monitors:
            metrics |= monitor.step_done(batch.step, metrics, model.teacher["backbone"])
        run.append_metrics({"step": batch.step, **metrics})
        if num_skipped:
            _complain(batch, num_skipped, run)
        num_done = batch.step + 1
        if num_done % config.checkpoint_every_steps == 0 or num_done == config.steps:
            _save(num_done, run, model, optimizer, pipeline)
            run.write_quarantine(pipeline.quarantined)


def _resume(
    run: RunFolder,
    model: StudentTeacher,
    optimizer: torch.optim.Optimizer,
    pipeline: PatchPipeline,
    site: Site,
) -> int:
    state = load_newest(run.checkpoints, next(model.parameters()).device)
    if state is None:
        return 0
    pipeline.load_state_dict(state["stream"], extend=site.extend)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    logger.info("going on with %s at step %d", run.path, state["step"])
    return state["step"]


def _save(
    num_done: int,
    run: RunFolder,
    model: StudentTeacher,
    optimizer: torch.optim.Optimizer,
    pipeline: PatchPipeline,
) -> None:
    config = model.config
    run.flush_metrics()
    pipeline.next_index = num_done * config.global_batch
    state = TrainState(
        step=num_done,
        model=model.state_dict(),
        optimizer=optimizer.state_dict(),
        stream=pipeline.state_dict(),
    )
    teacher = model.teacher.state_dict()
    save_checkpoint(run.checkpoints, state, teacher, keep=config.keep_checkpoints)


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Yield batches, each with the seconds that were spent waiting for it."""
    while True:
        wait_start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - wait_start


def _describe(batch: Batch, rates: Rates, wait_s: float, step_s: float) -> dict[str, float | int]:
    num_samples = len(batch.samples)
    return {
        "lr": rates.lr,
        "weight_decay": rates.weight_decay,
        "teacher_momentum": rates.teacher_momentum,
        "teacher_temperature": rates.teacher_temperature,
        "first_sample": batch.samples[0].index,
        "last_sample": batch.samples[-1].index,
        "places_crc": batch.places_crc,
        "num_rejections": sum(len(sample.rejections) for sample in batch.samples),
        "data_wait_s": wait_s,
        "step_s": step_s,
        "patches_per_s": num_samples / (wait_s + step_s),
    }


def _is_finite(metrics: Mapping[str, float | int]) -> bool:
    names = [n for n in metrics if n == "loss" or n.startswith("grad_norm")]
    return all(abs(metrics[name]) < float("inf") for name in names)


def _complain(batch: Batch, num_skipped: int, run: RunFolder) -> None:
    places = [
        f"{sample.coordinate.slide_path} x={sample.coordinate.x} y={sample.coordinate.y}"
        for sample in batch.samples[:3]
    ]
    logger.warning(
        "step %d has a loss or gradient that is not finite and changed nothing (%d in a row); its "
        "samples %d to %d begin with %s",
        batch.step,
        num_skipped,
        batch.samples[0].index,
        batch.samples[-1].index,
        "; ".join(places),
    )
    if num_skipped >= _MAX_SKIPPED_IN_A_ROW:
        raise TrainingError(
            f"loss or gradient was not finite for {num_skipped} steps in a row, up to step "
            f"{batch.step}; lower the learning rate (see {run.path / 'metrics.jsonl'})"
        )


def _seed_torch(seed: int, step: int, part: int) -> None:
    torch.manual_seed(int(rng_at(seed, Purpose.MODEL, step, part).integers(2**63)))

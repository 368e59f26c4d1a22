"""The report of a run from its folder alone, during the run or after it.

The run may be writing meanwhile: a line may be half there, a checkpoint gone before it is read.
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from eosin.backends.base import SlideBackend
from eosin.backends.guarded import guarded
from eosin.catalog import SlideEntry, SlideNames, anonymous_slides, without_names
from eosin.errors import EosinError, InputError
from eosin.evaluate.comparison import ModelComparison
from eosin.reading import exists
from eosin.report.charts import Estimate, interval_chart
from eosin.report.coverage import coverage_section
from eosin.report.curves import curve_section, hours
from eosin.report.events import collapse_alarms, warning_sections
from eosin.report.gauges import gauge_section
from eosin.report.history import History, read_history
from eosin.report.page import (
    Html,
    Page,
    Section,
    check_page,
    configuration,
    figure,
    paragraph,
    table,
    write_page,
)
from eosin.report.patch_maps import map_section
from eosin.report.stream import Sampled, left_out_section, sample_stream, stream_sections
from eosin.tissue.store import MaskStore
from eosin.train.config import TrainConfig
from eosin.train.run_folder import RunFolder
from eosin.watch.best import read_best

COMPARISON_FILE = "comparison.json"
"""Where in a run's folder a comparison of models lies, when there is one."""

_SILENT_STEPS = 10
"""A run that is silent for as long as so many steps take is taken for stopped."""
_SILENT_S = 300.0
"""And for so long in any case: checkpoints and looks at gauges take their time."""


def write_run_report(run_path: Path, *, anonymous: bool = False) -> Path:
    """Write `report.html` into a run's folder and return its path; the run may still be going on.

    When slides cannot be shown, the page says why in place of their pictures.

    Args:
        run_path: Folder of the run.
        anonymous: Name slides by their content instead of their files, and no patient.

    Raises:
        InputError: If the folder holds no run, or one that has not begun.
        ConfigError: If a `report.html` is there that is no page of eosin.
        WriteError: If the page cannot be written, such as on a full disk.
    """
    run = RunFolder(run_path)
    config, entries = run.train_config, run.entries
    report_path = run_path / "report.html"
    check_page(report_path)
    # What killed a process of the run, or a report, must not kill this one.
    run.crash_log.take_stock()
    backend = guarded(run.backend, run.crash_log)
    metrics_path = run_path / "metrics.jsonl"
    history = read_history(metrics_path)
    is_here = any("://" in entry.path or exists(entry.path) for entry in entries)
    names = SlideNames(entries, anonymous=anonymous)
    if anonymous:
        entries, backend = anonymous_slides(entries, backend)
    sampled: Sampled | EosinError
    if is_here:
        sampled = _sampled(config, entries, backend, MaskStore(run.masks))
    else:
        # A stream would look for each of them several times.
        sampled = InputError(
            f"none of the {len(entries)} slides is where it was, such as {entries[0].path}"
        )
    alarms = collapse_alarms(config, history)
    num_done = history.last_step + 1
    sections = [
        *_comparison_section(run_path),
        *warning_sections(run, config, alarms, names),
        curve_section(config, history),
        gauge_section(
            config,
            history,
            marks=[alarm.step for alarm in alarms],
            best=read_best(run_path / "best"),
        ),
        map_section(run, sampled, backend, names),
        coverage_section(
            [entry.path for entry in entries],
            run.manifest,
            names,
            sampled.pipeline.order if isinstance(sampled, Sampled) else sampled,
            num_samples=num_done * config.global_batch,
        ),
        *_stream_sections(sampled, backend),
        *left_out_section(without_names(run.left_out) if anonymous else run.left_out),
        Section(heading="Settings and versions", blocks=_settings(run, names)),
    ]
    now_s = time.time()
    written_s = metrics_path.stat().st_mtime if history.num_records else now_s
    num_slides = "1 slide" if len(entries) == 1 else f"{len(entries):,} slides"
    summary = (
        f"{config.steps:,} steps of {config.global_batch:,} patches, streamed from {num_slides}; "
        f"ViT {config.model.embed_dim} wide, {config.model.depth} deep."
    )
    page = Page(
        title=f"Run {run_path.resolve().name}",
        summary=summary,
        state=run_state(config, history, silent_s=now_s - written_s),
        share_done=num_done / config.steps,
        sections=tuple(sections),
        footer=f"Written {_at(now_s)} by eosin report.",
    )
    write_page(report_path, page)
    return report_path


def run_state(config: TrainConfig, history: History, *, silent_s: float) -> str:
    """Return how far a run is, in a sentence.

    Args:
        config: Of the run.
        history: What it measured.
        silent_s: Since it last wrote a step.
    """
    num_done = history.last_step + 1
    now = _at(time.time())
    if num_done >= config.steps:
        return f"Finished: all {config.steps:,} steps are done. Page of {now}."
    if not num_done:
        return f"No step of {config.steps:,} is done yet. Page of {now}."
    done = f"step {num_done:,} of {config.steps:,} ({num_done / config.steps:.0%})"
    step_s = _step_s(history)
    if silent_s > max(_SILENT_S, _SILENT_STEPS * step_s):
        return f"Stopped, or silent for {hours(silent_s)}, after {done}. Page of {now}."
    left = hours(step_s * (config.steps - num_done))
    return f"Going on: {done} done, about {left} to go. Page of {now}."


def _step_s(history: History) -> float:
    """Return what a step takes lately, with all that is between steps where it was measured."""
    curves = history.curves
    if "watch_wall_step_s" in curves:
        return curves["watch_wall_step_s"].recent_mean()
    if not {"step_s", "data_wait_s"} <= set(curves):
        return 0.0
    return curves["step_s"].recent_mean() + curves["data_wait_s"].recent_mean()


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _sampled(
    config: TrainConfig, entries: tuple[SlideEntry, ...], backend: SlideBackend, masks: MaskStore
) -> Sampled | EosinError:
    """Return the first samples of a run's stream, or why there are none.

    Masks are the run's own; where it was given others, such as an index's, they are kept anew.
    """
    try:
        return sample_stream(config, entries, backend, mask_store=masks)
    except EosinError as error:
        return error


def _stream_sections(sampled: Sampled | EosinError, backend: SlideBackend) -> tuple[Section, ...]:
    problem = sampled
    if isinstance(sampled, Sampled):
        try:
            return stream_sections(sampled, backend)
        except EosinError as error:
            problem = error
    reason = paragraph(f"The slides cannot be shown: {problem}.")
    return (Section(heading="Slides", blocks=(reason,)),)


def _comparison_section(run_path: Path) -> tuple[Section, ...]:
    path = run_path / COMPARISON_FILE
    if not path.exists():
        return ()
    comparison = ModelComparison.from_json(json.loads(path.read_text()))
    return (Section(heading="What was learnt", blocks=_comparison(comparison)),)


def _comparison(comparison: ModelComparison) -> tuple[Html, ...]:
    estimates = [
        Estimate(
            label=result.probe,
            series=model,
            value=result.balanced_accuracy.value,
            low=result.balanced_accuracy.low,
            high=result.balanced_accuracy.high,
        )
        for model, results in comparison.results.items()
        for result in results
    ]
    chance = 1 / len(comparison.class_names)
    chart = interval_chart(
        estimates,
        title="Balanced accuracy on held-out slides",
        x_label="balanced accuracy, 95 % interval",
        at_least=(0.0, 1.0),
        reference=(chance, "chance"),
    )
    return (
        paragraph(comparison.note),
        *(paragraph(f"Warning: {line}.") for line in comparison.warnings),
        figure(chart, "The same patches for every model; intervals resample whole slides."),
        table(("model", "probe", "accuracy [95 %]", "balanced accuracy [95 %]"), comparison.rows),
    )


def _settings(run: RunFolder, names: SlideNames) -> tuple[Html, ...]:
    quarantine = [
        (names(path), names.without_paths(reason)) for path, reason in run.quarantine.items()
    ]
    bad = [table(("slide not used", "reason"), quarantine)] if quarantine else []
    return (
        *bad,
        configuration("every setting", run.config),
        configuration("versions", run.versions or {"versions": "unknown"}),
    )

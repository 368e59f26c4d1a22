"""The report of a run from its folder alone: stream, curves, probes, settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from eosin.errors import EosinError
from eosin.evaluate.comparison import ModelComparison
from eosin.report.charts import Estimate, Series, interval_chart, line_chart
from eosin.report.page import (
    Html,
    Page,
    Section,
    configuration,
    figure,
    paragraph,
    side_by_side,
    table,
    write_page,
)
from eosin.report.stream import sample_stream, stream_sections
from eosin.train.run_folder import RunFolder

COMPARISON_FILE = "comparison.json"
"""Where in a run's folder a comparison of models lies, when there is one."""

_LOSSES = ("loss_dino_local", "loss_dino_global", "loss_ibot")


def write_run_report(run_path: Path) -> Path:
    """Write `report.html` into a run's folder and return its path; the run may still be going on.

    When the slides are out of reach, the page says so in place of their pictures.

    Raises:
        InputError: If the folder holds no run.
    """
    run = RunFolder(run_path)
    config, metrics = run.train_config, run.metrics()
    comparison_path = run_path / COMPARISON_FILE
    sections = []
    if comparison_path.exists():
        comparison = ModelComparison.from_json(json.loads(comparison_path.read_text()))
        sections.append(Section(heading="What was learnt", blocks=_comparison(comparison)))
    sections += [
        Section(heading="Training", blocks=_curves(metrics)),
        *_stream(run),
        Section(heading="Settings and versions", blocks=_settings(run)),
    ]
    num_done = int(metrics[-1]["step"]) + 1 if metrics else 0
    summary = (
        f"{num_done:,} of {config.steps:,} steps of {config.global_batch} patches, streamed from "
        f"{len(run.slides)} slides; ViT {config.model.embed_dim} wide, {config.model.depth} deep."
    )
    page = Page(title=f"Run {run_path.name}", summary=summary, sections=tuple(sections))
    report_path = run_path / "report.html"
    write_page(report_path, page)
    return report_path


def _stream(run: RunFolder) -> tuple[Section, ...]:
    try:
        sampled = sample_stream(run.train_config, run.slides, run.backend)
        return stream_sections(sampled, run.backend)
    except EosinError as error:
        reason = paragraph(f"The slides cannot be shown: {error}.")
        return (Section(heading="Slides", blocks=(reason,)),)


def _curves(metrics: Sequence[Mapping[str, float | int]]) -> tuple[Html, ...]:
    if not metrics:
        return (paragraph("No step is done yet."),)
    losses = line_chart(
        _series(metrics, _LOSSES), title="Losses", x_label="step", y_label="weighted term"
    )
    spread = line_chart(
        _series(metrics, ("mean_cosine", "feature_std")),
        title="Collapse gauges",
        x_label="step",
        y_label="1 and 0 would be a collapse",
    )
    rank = line_chart(
        _series(metrics, ("rankme",)),
        title="Directions in use (RankMe)",
        x_label="step",
        y_label="directions",
    )
    density = line_chart(
        _series(metrics, ("loss_kde", "loss_koleo")),
        title="Regulariser",
        x_label="step",
        y_label="weighted term",
    )
    rates = line_chart(
        _series(metrics, ("lr",)), title="Learning rate", x_label="step", y_label="rate"
    )
    speed = line_chart(
        _series(metrics, ("patches_per_s",)),
        title="Speed",
        x_label="step",
        y_label="patches/s",
    )
    wait_s = sum(record["data_wait_s"] for record in metrics)
    step_s = sum(record["step_s"] for record in metrics)
    return (
        paragraph(
            "When all patches look the same to the model, the mean cosine between them nears 1, "
            "their standard deviation nears 0 and so does the number of directions near 1. Of the "
            f"time, {wait_s / max(wait_s + step_s, 1e-9):.0%} was spent waiting for patches."
        ),
        side_by_side([figure(losses, "Loss terms."), figure(spread, "Mean cosine and spread.")]),
        side_by_side([figure(rank, "Of the class tokens."), figure(density, "KDE or KoLeo.")]),
        side_by_side([figure(rates, "Schedule."), figure(speed, "Whole steps.")]),
    )


def _series(metrics: Sequence[Mapping[str, float | int]], names: Sequence[str]) -> list[Series]:
    return [
        Series(
            name=name.removeprefix("loss_").replace("_", " "),
            x=tuple(float(record["step"]) for record in metrics if name in record),
            y=tuple(float(record[name]) for record in metrics if name in record),
        )
        for name in names
        if any(name in record for record in metrics)
    ]


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
        figure(chart, "The same patches for every model; intervals resample whole slides."),
        table(("model", "probe", "accuracy [95 %]", "balanced accuracy [95 %]"), comparison.rows),
    )


def _settings(run: RunFolder) -> tuple[Html, ...]:
    quarantine = [(Path(path).name, reason) for path, reason in run.quarantine.items()]
    bad = [table(("slide not used", "reason"), quarantine)] if quarantine else []
    return (
        *bad,
        configuration("every setting", run.config),
        configuration("versions", run.versions),
    )

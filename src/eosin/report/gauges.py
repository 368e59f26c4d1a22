"""Whether a run collapses, at a glance: what its monitors measured, beside what is healthy.

The ranges are rules of thumb for a reader, wide on purpose; what warns or stops a run is its alarm.
"""

import math
from collections.abc import Mapping, Sequence

from eosin.report.axis import Number
from eosin.report.history import Curve, History
from eosin.report.page import Html, Section, paragraph, table
from eosin.report.panels import Panel, draw_panels
from eosin.train.config import TrainConfig
from eosin.watch.best import Best

PREFIX = "watch_"
"""Of what monitors measure, every so many steps."""

_BANK_TILES = 256
"""Of a bank as it comes, which bound the directions that can be seen."""

MACHINE_METRICS = frozenset(
    PREFIX + name
    for name in (
        "patches_per_s",
        "wall_step_s",
        "wait_share",
        "floor_share",
        "rss_gib",
        "cuda_peak_gib",
        "bank_s",
        "labelled_s",
    )
)
"""What monitors say of the machine and not of the model."""


def gauge_section(
    config: TrainConfig, history: History, *, marks: Sequence[Number] = (), best: Best | None = None
) -> Section:
    """Return the section of the gauges.

    Args:
        config: Of the run, which says what the ends of some gauges are.
        history: What it measured.
        marks: Steps of alarms.
        best: The look whose teacher the run keeps, where it keeps one.
    """
    panels = [*collapse_panels(config), *benchmark_panels()]
    known = {name for panel in panels for name, _ in panel.metrics}
    panels += [
        Panel(title=_title(name), metrics=((name, name),), meaning=f"{name}, as it was measured.")
        for name in sorted(history.curves)
        if name.startswith(PREFIX) and name not in known | MACHINE_METRICS
    ]
    shown = [panel for panel in panels if panel.measured(history.curves)]
    if not shown:
        return Section(
            heading="Collapse gauges", blocks=(paragraph("No gauge has been read yet."),)
        )
    blocks = [
        paragraph(
            "Gauges are read on a bank of tiles of the run's own slides, where it keeps one, and "
            "on its training batches. Green is where there is no reason to worry: a rule of thumb, "
            "not a law."
        ),
        paragraph(_in_short(shown, history.curves)),
        _verdicts(shown, history.curves),
        draw_panels(shown, history.curves, marks=marks, in_a_row=3),
    ]
    if best is not None:
        at = f"{best.metric} {best.value:.4g} at step {best.step:,}"
        blocks.append(paragraph(f"The best teacher so far is kept: {at}."))
    return Section(heading="Collapse gauges", blocks=tuple(blocks))


def collapse_panels(config: TrainConfig) -> tuple[Panel, ...]:
    """Return the gauges of a collapse, each with its ends for this run."""
    return (*_token_panels(config), *_choice_panels(config))


def _token_panels(config: TrainConfig) -> tuple[Panel, ...]:
    kappa, dim = config.losses.kde_kappa, config.model.embed_dim
    return (
        Panel(
            title="Density of class tokens (KDE)",
            metrics=(("watch_kde", "KDE"),),
            healthy=(-math.inf, kappa / 2),
            references=((kappa, "all alike"), (0.0, "orthogonal")),
            meaning=f"{kappa:g} is a collapse; near 0, tiles point in all directions.",
        ),
        _spread(
            "mean_cosine",
            title="Mean cosine between tiles",
            healthy=(-math.inf, 0.5),
            references=((1.0, "all alike"),),
            meaning="Of the class tokens of different tiles; 1 is a collapse.",
        ),
        _spread(
            "feature_std",
            title="Spread of features",
            healthy=(0.7, math.inf),
            references=((0.0, "all alike"),),
            meaning="Standard deviation times \u221adim; 0 is a collapse, about 1 uses all room.",
        ),
        _spread(
            "rankme",
            title="Directions in use (RankMe)",
            healthy=(min(dim, _BANK_TILES) / 16, math.inf),
            references=((1.0, "one direction"),),
            meaning=f"Of {dim}, and at most as many as tiles; 1 is a collapse.",
        ),
        Panel(
            title="Fall of the spectrum (\u03b1-ReQ)",
            metrics=(("watch_alpha_req", "\u03b1"),),
            healthy=(0.5, 1.5),
            references=((1.0, "best in theory"),),
            meaning="Larger uses fewer directions; smaller is nearer to noise.",
        ),
        Panel(
            title="Class token against patches",
            metrics=(("watch_cls_patch_cosine", "cosine"),),
            healthy=(-math.inf, 0.9),
            references=((1.0, "patches repeat it"),),
            meaning="Cosine of a tile's class token with its patch tokens; near 1, patches say "
            "nothing of their own.",
        ),
    )


def _choice_panels(config: TrainConfig) -> tuple[Panel, ...]:
    return (
        Panel(
            title="Teacher's choice",
            metrics=(
                ("watch_teacher_entropy", "one tile"),
                ("watch_mean_choice_entropy", "all tiles together"),
            ),
            references=((math.log(config.dino_head.num_prototypes), "no choice"),),
            meaning="Entropy in nats. Where both meet, the teacher says the same of every tile.",
        ),
        Panel(
            title="Prototypes in use",
            metrics=(("watch_prototype_share", "share"),),
            healthy=(0.2, math.inf),
            references=((0.0, "none"),),
            meaning="Prototypes that some tile has chosen, of as many as could be.",
        ),
        Panel(
            title="Prototypes, evenly used",
            metrics=(("watch_prototype_perplexity", "perplexity"),),
            references=((1.0, "one for all tiles"),),
            meaning="How many prototypes the tiles are spread over; 1 is a collapse.",
        ),
    )


def benchmark_panels() -> tuple[Panel, ...]:
    """Return the gauges of how good features are, by views and by labels."""
    return (
        Panel(
            title="Agreement of views",
            metrics=(
                ("watch_view_retrieval", "finds itself"),
                ("watch_view_overlap", "same neighbours"),
            ),
            healthy=(0.5, math.inf),
            references=((1.0, "all"),),
            meaning="Tiles whose second view finds its first, and neighbours that views share.",
        ),
        Panel(
            title="kNN on labelled tiles",
            metrics=(
                ("watch_knn_accuracy", "accuracy"),
                ("watch_knn_balanced_accuracy", "each class alike"),
            ),
            meaning="What training is for: higher is better.",
        ),
        Panel(
            title="Where the slide was made",
            metrics=(("watch_site_accuracy", "kNN"), ("watch_site_chance", "chance")),
            meaning="How well features tell the tissue source site of other patients; near chance "
            "is good.",
        ),
    )


def _spread(
    name: str,
    *,
    title: str,
    healthy: tuple[Number, Number],
    references: tuple[tuple[Number, str], ...],
    meaning: str,
) -> Panel:
    metrics = ((PREFIX + name, "bank"), (name, "training batches"))
    return Panel(
        title=title, metrics=metrics, healthy=healthy, references=references, meaning=meaning
    )


def _in_short(panels: Sequence[Panel], curves: Mapping[str, Curve]) -> str:
    """Return in a sentence which gauges are not as they should be."""
    judged = [panel for panel in panels if panel.healthy is not None]
    outside = [
        panel.title
        for panel in judged
        if panel.verdict(curves[panel.measured(curves)[0]].newest) != "healthy"
    ]
    if outside:
        return f"Worth a look, of {len(judged)} gauges with a range: {', '.join(outside)}."
    return f"All {len(judged)} gauges that have a range are within it."


def _verdicts(panels: Sequence[Panel], curves: Mapping[str, Curve]) -> Html:
    rows = []
    for panel in panels:
        if panel.healthy is None:
            continue
        curve = curves[panel.measured(curves)[0]]
        first = next((value for value in curve.mean.tolist() if math.isfinite(value)), math.nan)
        verdict = panel.verdict(curve.newest)
        rows.append((panel.title, first, curve.newest, panel.healthy_text, verdict))
    if not rows:
        return Html("")
    return table(("gauge", "at first", "now", "healthy", "verdict"), rows)


def _title(name: str) -> str:
    return name.removeprefix(PREFIX).replace("_", " ").capitalize()

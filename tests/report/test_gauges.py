import json
import math
from pathlib import Path

import pytest

from eosin.report.gauges import collapse_panels, gauge_section
from eosin.report.history import read_history
from eosin.report.panels import Panel
from eosin.watch.best import Best
from train.tiny import tiny_config

HEALTHY = {
    "watch_kde": 0.2,
    "watch_mean_cosine": 0.1,
    "watch_feature_std": 0.95,
    "watch_rankme": 12.0,
    "watch_alpha_req": 1.1,
    "watch_cls_patch_cosine": 0.4,
    "watch_teacher_entropy": 2.0,
    "watch_mean_choice_entropy": 3.0,
    "watch_prototype_share": 0.8,
    "watch_prototype_perplexity": 14.0,
    "watch_view_retrieval": 0.9,
    "watch_view_overlap": 0.6,
    "watch_knn_accuracy": 0.7,
    "watch_site_accuracy": 0.3,
    "watch_site_chance": 0.25,
}
COLLAPSED = {
    "watch_kde": 4.9,
    "watch_mean_cosine": 0.99,
    "watch_feature_std": 0.1,
    "watch_rankme": 1.05,
    "watch_alpha_req": 3.0,
    "watch_cls_patch_cosine": 0.99,
    "watch_prototype_share": 0.02,
    "watch_view_retrieval": 0.02,
}


def section(tmp_path: Path, *records, **known) -> str:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": 10 * i, "loss": 1.0, **one}) for i, one in enumerate(records)]
    path.write_text("\n".join(lines) + "\n")
    return "".join(gauge_section(tiny_config(), read_history(path), **known).blocks)


def test_a_healthy_run_has_every_gauge_in_the_green(tmp_path: Path):
    page = section(tmp_path, HEALTHY, HEALTHY)
    assert "All 8 gauges that have a range are within it." in page
    assert page.count("<td>healthy</td>") == 8
    assert page.count("<svg") == 12


def test_a_collapsed_run_has_every_gauge_out_of_it(tmp_path: Path):
    page = section(tmp_path, HEALTHY, COLLAPSED)
    assert "Worth a look, of 8 gauges with a range: Density of class tokens (KDE), Mean" in page
    assert page.count("<td>look</td>") == 8
    assert "<td>healthy</td>" not in page


def test_a_gauge_that_is_no_number_is_worth_a_look(tmp_path: Path):
    page = section(tmp_path, HEALTHY, {"watch_kde": math.nan})
    assert "Worth a look, of 8 gauges with a range: Density of class tokens (KDE)." in page


def test_gauges_of_training_batches_are_shown_where_nothing_else_watches(tmp_path: Path):
    page = section(tmp_path, {"mean_cosine": 0.2, "feature_std": 0.9, "rankme": 9.0})
    assert page.count("<svg") == 3
    assert page.count("<td>healthy</td>") == 3


def test_a_gauge_that_nobody_knows_is_drawn_by_its_name(tmp_path: Path):
    page = section(tmp_path, {"watch_new_idea": 1.0})
    assert "New idea" in page
    assert "watch_new_idea, as it was measured." in page


def test_what_is_said_of_the_machine_is_no_gauge(tmp_path: Path):
    page = section(tmp_path, {"watch_rss_gib": 1.0, "watch_patches_per_s": 3.0})
    assert page == "<p>No gauge has been read yet.</p>"


def test_the_ends_of_gauges_are_those_of_the_run():
    config = tiny_config()
    panels = {panel.metrics[0][0]: panel for panel in collapse_panels(config)}
    assert panels["watch_kde"].references[0] == (config.losses.kde_kappa, "all alike")
    no_choice = panels["watch_teacher_entropy"].references[0][0]
    assert math.exp(no_choice) == pytest.approx(config.dino_head.num_prototypes)


def test_alarms_are_marked_in_every_gauge(tmp_path: Path):
    quiet = section(tmp_path, HEALTHY, HEALTHY)
    marked = section(tmp_path, HEALTHY, HEALTHY, marks=(5,))
    assert marked.count("<line") == quiet.count("<line") + 12


@pytest.mark.parametrize(
    ("healthy", "text", "within", "without"),
    [
        ((-math.inf, 0.5), "below 0.5", 0.4, 0.6),
        ((0.7, math.inf), "above 0.7", 0.8, 0.6),
        ((0.5, 1.5), "0.5 to 1.5", 1.0, 2.0),
        (None, "no range", None, None),
    ],
)
def test_ranges_are_said_in_words(healthy, text, within, without):
    panel = Panel(title="t", metrics=(("m", "m"),), meaning="", healthy=healthy)
    assert panel.healthy_text == text
    if healthy is None:
        assert panel.verdict(0.0) == ""
    else:
        assert (panel.verdict(within), panel.verdict(without)) == ("healthy", "look")


def test_the_best_teacher_is_named(tmp_path: Path):
    best = Best(1200, "watch_knn_accuracy", 0.75)
    assert "watch_knn_accuracy 0.75 at step 1,200" in section(tmp_path, HEALTHY, best=best)

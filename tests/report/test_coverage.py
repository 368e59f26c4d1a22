from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.catalog import SlideNames
from eosin.errors import InputError
from eosin.report import coverage
from eosin.report.coverage import coverage_section, delivered_counts, planned_counts
from eosin.stream.order import LaneOrder

ORDERS = st.builds(
    LaneOrder,
    num_slides=st.integers(1, 9),
    seed=st.integers(0, 5),
    slide_sampling=st.sampled_from(["sequential", "random"]),
    cycle=st.just(value=True),
    num_lanes=st.integers(1, 6),
    pool_size=st.integers(1, 4),
    patches_per_slide=st.integers(1, 7),
    patches_per_visit=st.integers(1, 3),
)


@given(order=ORDERS, num_samples=st.integers(0, 700))
def test_the_plan_counts_what_the_order_says_sample_by_sample(order: LaneOrder, num_samples: int):
    slides = [order.slide_of_slot(order.slot_of(index)) for index in range(num_samples)]
    assert planned_counts(order, num_samples).tolist() == [
        slides.count(slide) for slide in range(order.num_slides)
    ]


SHOWN = SlideNames([], anonymous=False)


def test_a_run_of_a_billion_samples_is_counted_without_looking_at_each():
    order = LaneOrder(num_slides=12_000, slide_sampling="random", cycle=True, num_lanes=8)
    counts = planned_counts(order, 10**9)
    assert counts.sum() == 10**9
    assert counts.max() - counts.min() <= 800


def test_weighted_slides_are_expected_by_their_weight():
    order = LaneOrder(
        num_slides=3, slide_sampling="random", cycle=True, weights=np.array([1.0, 0.0, 3.0])
    )
    assert planned_counts(order, 1000).tolist() == [250, 0, 750]


def manifest(folder: Path, *parts: list[str]) -> Path:
    folder.mkdir()
    for number, slides in enumerate(parts):
        pq.write_table(pa.table({"slide": slides}), folder / f"samples_{number:012d}.parquet")
    return folder


def test_a_manifest_is_counted_over_its_parts(tmp_path: Path):
    folder = manifest(tmp_path / "m", ["a.svs", "b.svs", "a.svs"], ["a.svs"])
    assert delivered_counts(folder, SHOWN) == Counter({"a.svs": 3, "b.svs": 1})


def test_a_part_that_is_rewritten_while_it_is_read_is_left_out(tmp_path: Path, monkeypatch):
    folder = manifest(tmp_path / "m", ["a.svs"])
    gone = folder / "samples_000000000009.parquet"
    parts = [*coverage.manifest_parts(folder), gone]
    monkeypatch.setattr(coverage, "manifest_parts", lambda _: parts)
    assert delivered_counts(folder, SHOWN) == Counter({"a.svs": 1})


def test_without_a_manifest_nothing_is_delivered_for_certain(tmp_path: Path):
    assert delivered_counts(tmp_path / "none", SHOWN) is None


def section(tmp_path: Path, **changes) -> str:
    given = {
        "slides": ["/s/a.svs", "/s/b.svs"],
        "manifest": tmp_path / "m",
        "shown_name": SHOWN,
        "order": InputError("a.svs is a snail"),
    }
    return "".join(coverage_section(**{**given, "num_samples": 10, **changes}).blocks)


def test_slides_that_were_never_seen_are_named(tmp_path: Path):
    manifest(tmp_path / "m", ["a.svs"] * 5)
    page = section(tmp_path)
    assert "1 of 2 slides gave 5 samples" in page
    assert "Not seen yet (1): b.svs." in page
    assert "manifest: what was delivered" in page


def test_thousands_of_unseen_slides_are_named_where_they_are_unfolded(tmp_path: Path):
    manifest(tmp_path / "m", ["a.svs"])
    page = section(tmp_path, slides=["/s/a.svs", *(f"/s/{i}.svs" for i in range(1000))])
    assert "and 970 more" in page
    assert page.count("<td>") == 1000


def test_without_a_manifest_counts_are_called_planned(tmp_path: Path):
    order = LaneOrder(num_slides=2, cycle=True, pool_size=2)
    page = section(tmp_path, order=order)
    assert "2 of 2 slides gave 10 samples: 5 to 5 each" in page
    assert "As planned" in page


def test_where_nothing_is_known_the_section_says_why(tmp_path: Path):
    page = section(tmp_path)
    assert "no manifest, and its stream cannot be drawn: a.svs is a snail." in page


@pytest.mark.parametrize("num_samples", [0, 1])
def test_a_run_that_has_hardly_begun_has_its_section(tmp_path: Path, num_samples):
    order = LaneOrder(num_slides=2, cycle=True)
    page = section(tmp_path, order=order, num_samples=num_samples)
    assert f"{num_samples} of 2 slides" in page

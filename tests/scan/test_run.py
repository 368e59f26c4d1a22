import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import cv2
import pyarrow as pa
import pytest
from pyarrow import parquet

from eosin.backends import (
    AutoBackend,
    MppPolicy,
    OpenSlideBackend,
    Slide,
    SlideBackend,
    SyntheticBackend,
)
from eosin.catalog import SlideWeights, list_slides
from eosin.errors import ConfigError, InputError
from eosin.filters import PatchFilter
from eosin.sampling import ContinuousMagnificationSampler, MultiMagnificationSampler, RandomSampler
from eosin.scan import scan_slides
from eosin.tissue import HSVTissueDetector, MaskStore, TissueDetector
from eosin.verbs.arguments import masks_beside
from made_slides import smooth_tissue, write_folder, write_slide
from scan.scanning import entries_of, plan_of, scan

LOOKED_AT: list[str] = []
"""What these two were asked for."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ListeningBackend(SlideBackend):
    """Remember what is opened."""

    def open(self, path: Path | str) -> Slide:
        LOOKED_AT.append(f"open {path}")
        return SyntheticBackend().open(path)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ListeningDetector(TissueDetector):
    """Remember how often tissue is looked for."""

    def detect(self, thumbnail, *, mpp):
        LOOKED_AT.append("detect")
        return HSVTissueDetector().detect(thumbnail, mpp=mpp)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HalfFilter(PatchFilter):
    """Keep patches of which the first pixel is in an even column, at 0.25 um per pixel."""

    def accept(self, image) -> bool:
        return bool(image[0, 0, 0] % 2 == 0)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenDetector(TissueDetector):
    """Fail on every slide with an error that is no SlideError."""

    def detect(self, thumbnail, *, mpp):
        raise cv2.error("a bug in a detector")


def test_a_row_says_all_about_a_slide(tmp_path):
    (slide,) = scan(tmp_path, "made://a").values()
    assert (slide.path, slide.name, slide.num_bytes) == ("made://a", "a", None)
    assert (slide.vendor, slide.reader, slide.codec) == ("synthetic", "synthetic", "none")
    assert (slide.mpp_x, slide.mpp_y, slide.mpp_source) == (0.25, 0.25, "made so")
    assert (slide.width_l0, slide.height_l0, slide.num_levels) == (4000, 3000, 2)
    assert json.loads(slide.levels)[1] == {"width": 1000, "height": 750, "downsample": 4.0}
    # The middle half of either side of 1 x 0.75 mm.
    assert slide.tissue_fraction == pytest.approx(0.25, abs=0.02)
    assert slide.tissue_mm2 == pytest.approx(0.25 * 1.0 * 0.75, rel=0.05)
    assert slide.acceptance == 1.0
    assert slide.acceptance_by_mpp == {"acceptance_0.25": 1.0, "acceptance_1": 1.0}
    assert (slide.unreadable_fraction, slide.problem, slide.duplicate_of) == (0.0, None, None)


def test_the_index_gives_the_slides_back_with_their_columns(tmp_path):
    index = tmp_path / "index.parquet"
    entries = [*entries_of("made://a", organ="lung"), *entries_of("made://b", age=3.0)]
    scan_slides(entries, index, plan_of())
    first, second = list_slides(index)
    assert (first.path, first.metadata["organ"], first.metadata["age"]) == (
        "made://a",
        "lung",
        None,
    )
    assert second.metadata["age"] == 3.0
    assert first.metadata["tissue_mm2"] == pytest.approx(0.19, abs=0.02)
    assert first.fingerprint is not None
    assert SlideWeights(tissue_area_power=1.0).weights([first, second]) == pytest.approx(0.5)
    assert len(list_slides(index, "organ == 'lung' and acceptance_0_25 > 0.5 and mpp_x < 1")) == 1


def test_every_kind_of_problem_is_a_row_with_its_reason(tmp_path):
    backend = SyntheticBackend(
        failing=frozenset({"made://closed"}), unreadable=frozenset({"made://torn"})
    )
    found = scan(tmp_path, "made://good", "made://closed", "made://torn", plan=plan_of(backend))
    assert found["good"].problem is None
    assert found["closed"].problem == "was made to fail"
    assert found["torn"].problem == "was made to fail"
    assert found["torn"].unreadable_fraction == 1.0
    assert found["torn"].tissue_fraction > 0.2
    assert [entry.name for entry in list_slides(tmp_path / "index.parquet")] == ["good"]


@pytest.mark.parametrize(
    ("slide", "message"),
    [
        ({"mpp": None}, "does not say its microns per pixel"),
        ({"mpp": 4.0}, "too coarse for 0.25, 1"),
        ({"tissue_box": (0.5, 0.5, 0.5, 0.5)}, "HSVTissueDetector finds no tissue"),
        ({"width_l0": 30, "tissue_box": (0.0, 0.0, 1.0, 1.0)}, "no window of 32 x 32"),
    ],
)
def test_slides_that_open_and_give_no_patch_say_why(tmp_path, slide, message):
    (row,) = scan(tmp_path, "made://a", plan=plan_of(SyntheticBackend(**slide))).values()
    assert message in row.problem
    assert row.vendor == "synthetic"
    assert row.tissue_fraction is not None


def test_an_error_of_any_kind_is_one_slides_and_not_the_scans(tmp_path):
    (row,) = scan(tmp_path, "made://a", plan=plan_of(tissue_source=BrokenDetector())).values()
    assert row.problem == "error: a bug in a detector"


def test_acceptance_is_the_share_that_the_filter_keeps(tmp_path):
    plan = plan_of(
        patch_filter=HalfFilter(),
        num_candidates=200,
        sampler=MultiMagnificationSampler(target_mpps=(0.25, 1.0), patch_size=32),
    )
    (row,) = scan(tmp_path, "made://a", plan=plan).values()
    assert row.acceptance_by_mpp["acceptance_0.25"] == pytest.approx(0.5, abs=0.12)
    low, high = sorted(row.acceptance_by_mpp.values())
    assert low <= row.acceptance <= high
    assert scan(tmp_path, "made://a", plan=replace(plan, seed=1))["a"] != row
    assert scan(tmp_path, "made://a", plan=plan)["a"] == row


def test_a_magnification_that_a_slide_lacks_has_no_acceptance_there(tmp_path):
    (row,) = scan(tmp_path, "made://a", plan=plan_of(SyntheticBackend(mpp=0.5))).values()
    assert row.acceptance_by_mpp == {"acceptance_1": 1.0}
    assert row.problem is None


@pytest.mark.parametrize("sampler", [ContinuousMagnificationSampler(), RandomSampler(level=1)])
def test_other_samplers_have_their_acceptance_too(tmp_path, sampler):
    (row,) = scan(tmp_path, "made://a", plan=plan_of(sampler=sampler)).values()
    assert row.acceptance == 1.0
    assert len(row.acceptance_by_mpp) == (0 if sampler != RandomSampler(level=1) else 1)


def test_slides_of_the_same_content_are_marked_and_listed_once(tmp_path):
    image = smooth_tissue(700, 600)
    write_slide(tmp_path / "b.svs", image)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.svs").write_bytes((tmp_path / "b.svs").read_bytes())
    index = tmp_path / "index.parquet"
    first, second = scan_slides(list_slides(tmp_path), index, plan_of(OpenSlideBackend()))
    assert first.duplicate_of is None
    assert second.duplicate_of == first.path
    assert [entry.path for entry in list_slides(index)] == [first.path]


def test_an_index_moves_with_its_slides(tmp_path):
    folder = write_folder(tmp_path / "slides")
    scan_slides(list_slides(folder), folder / "index.parquet", plan_of(OpenSlideBackend()))
    folder.rename(tmp_path / "elsewhere")
    moved = list_slides(tmp_path / "elsewhere" / "index.parquet")
    assert len(moved) == 3
    assert all(Path(entry.path).exists() for entry in moved)


def test_unchanged_slides_are_not_looked_at_again(tmp_path):
    plan = plan_of(tissue_source=ListeningDetector())
    before = scan(tmp_path, "made://a", "made://b", plan=plan)
    LOOKED_AT.clear()
    after = scan(tmp_path, "made://b", "made://c", "made://elsewhere/a", plan=plan)
    assert LOOKED_AT == ["detect"]
    assert after["b"] == before["b"]
    assert after["a"] == replace(before["a"], path="made://elsewhere/a")
    assert list_slides(tmp_path / "index.parquet")[2].path == "made://elsewhere/a"


def test_a_slide_whose_mask_is_not_in_the_store_is_looked_at_again(tmp_path):
    plan = plan_of(tissue_source=ListeningDetector())
    row = scan(tmp_path, "made://a", plan=plan)["a"]
    LOOKED_AT.clear()
    store = MaskStore(tmp_path / "masks")
    for _ in range(2):
        assert scan(tmp_path, "made://a", plan=plan, mask_store=store)["a"] == row
    assert LOOKED_AT == ["detect"]
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 1


def test_rows_are_taken_over_only_where_the_plan_is_the_same(tmp_path):
    scan(tmp_path, "made://a")
    changed = plan_of(sampler=MultiMagnificationSampler(target_mpps=(0.5,), patch_size=32))
    assert set(scan(tmp_path, "made://a", plan=changed)["a"].acceptance_by_mpp) == {
        "acceptance_0.5"
    }


def test_a_slide_with_a_problem_is_looked_at_again(tmp_path):
    store = MaskStore(tmp_path / "masks")
    assert scan(tmp_path, "made://a", plan=plan_of(tissue_source=BrokenDetector()))["a"].problem
    assert scan(tmp_path, "made://a", mask_store=store)["a"].problem is None
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 1


def test_columns_of_the_scan_go_before_those_of_the_list(tmp_path):
    entries = entries_of("made://a", vendor="mine", acceptance_7="old", organ="lung", mixed=1.0)
    entries += entries_of("made://b", mixed="text")
    index = tmp_path / "index.parquet"
    scan_slides(entries, index, plan_of())
    found = list_slides(index)
    assert found[0].metadata["vendor"] == "synthetic"
    assert found[0].metadata["organ"] == "lung"
    assert [entry.metadata["mixed"] for entry in found] == ["1.0", "text"]
    assert "acceptance_7" not in found[0].metadata


def test_threads_change_nothing_and_rows_keep_the_order_of_the_list(tmp_path):
    paths = [f"made://{number:03d}" for number in range(200)]
    plan = plan_of(SyntheticBackend(failing=frozenset(paths[::50])), num_candidates=1)
    one = scan(tmp_path, *paths, plan=plan, num_threads=1)
    (tmp_path / "index.parquet").unlink()
    four = scan(tmp_path, *paths, plan=plan, num_threads=4)
    assert one == four
    assert list(four) == [path.removeprefix("made://") for path in paths]
    assert len(list_slides(tmp_path / "index.parquet")) == 196
    assert not [t for t in threading.enumerate() if t.name.startswith("scan")]


def test_places_that_cannot_hold_an_index_are_refused_before_anything_is_read(tmp_path):
    LOOKED_AT.clear()
    plan = plan_of(ListeningBackend())
    with pytest.raises(ConfigError, match=r"must end in \.parquet"):
        scan_slides(entries_of("made://a"), tmp_path / "index.csv", plan)
    (tmp_path / "mine.parquet").write_text("precious")
    with pytest.raises(ConfigError, match="is there and is not an index of a scan"):
        scan_slides(entries_of("made://a"), tmp_path / "mine.parquet", plan)
    with pytest.raises(InputError, match="no slides to scan"):
        scan_slides([], tmp_path / "index.parquet", plan)
    with pytest.raises(ConfigError, match="num_threads=0"):
        scan_slides(entries_of("made://a"), tmp_path / "index.parquet", plan, num_threads=0)
    assert LOOKED_AT == []
    assert (tmp_path / "mine.parquet").read_text() == "precious"


def test_masks_that_cannot_be_kept_end_the_scan_and_leave_the_old_index(tmp_path):
    scan(tmp_path, "made://a")
    before = (tmp_path / "index.parquet").read_bytes()
    (tmp_path / "masks").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match=r"masks is a file, and .* is a folder"):
        scan(tmp_path, "made://b", mask_store=MaskStore(tmp_path / "masks"))
    assert (tmp_path / "index.parquet").read_bytes() == before


_SLOW_SCAN = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from eosin.backends import SlideBackend, SyntheticBackend
from eosin.catalog import SlideEntry
from eosin.sampling import RandomSampler
from eosin.scan import ScanPlan, scan_slides
from eosin.tissue import HSVTissueDetector, MaskStore

@dataclass(frozen=True, kw_only=True, slots=True)
class Slow(SlideBackend):
    def open(self, path):
        time.sleep(0.05)
        os.write(1, f"{path}\\n".encode())
        return SyntheticBackend().open(path)

folder = Path(sys.argv[1])
plan = ScanPlan(backend=Slow(), tissue_source=HSVTissueDetector(), sampler=RandomSampler())
entries = [SlideEntry(path=f"made://{n}") for n in range(1000)]
scan_slides(entries, folder / "index.parquet", plan, mask_store=MaskStore(folder / "masks"))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_scan_that_is_stopped_in_the_middle_leaves_masks_and_no_half_index(tmp_path, end):
    scanning = subprocess.Popen(
        [sys.executable, "-c", _SLOW_SCAN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert scanning.stdout is not None
    with scanning.stdout:
        for _ in range(8):
            assert scanning.stdout.readline().startswith(b"made://")
        scanning.send_signal(end)
        assert scanning.wait(timeout=120) != 0
    assert len(list((tmp_path / "masks").rglob("*.png"))) >= 1
    assert not (tmp_path / "index.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]


_STUCK_SCAN = _SLOW_SCAN.replace("time.sleep(0.05)", "pass").replace(
    "return Synth", "time.sleep(600 if path.endswith('3') else 0)\n        return Synth"
)


def test_a_scan_that_is_stuck_on_a_slide_ends_when_it_is_interrupted(tmp_path):
    """Row 32 of the faults: Ctrl-C waited for the slides that were being looked at."""
    assert "600" in _STUCK_SCAN
    scanning = subprocess.Popen(
        [sys.executable, "-c", _STUCK_SCAN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert scanning.stdout is not None
    with scanning.stdout:
        while not scanning.stdout.readline().rstrip().endswith(b"3"):
            assert scanning.poll() is None
        scanning.send_signal(signal.SIGINT)
        assert scanning.wait(timeout=300) != 0
    assert not (tmp_path / "index.parquet").exists()


def test_settings_that_make_no_sense_are_refused_by_name():
    with pytest.raises(ConfigError, match="num_candidates=0"):
        plan_of(num_candidates=0)


def test_a_column_of_the_user_is_kept_though_it_begins_like_one_of_the_scan(tmp_path):
    entries = entries_of("made://a", acceptance_notes="good", **{"acceptance_0.5": 0.5})
    scan_slides(entries, tmp_path / "index.parquet", plan_of())
    (entry,) = list_slides(tmp_path / "index.parquet")
    assert entry.metadata["acceptance_notes"] == "good"
    assert "acceptance_0.5" not in entry.metadata


def test_an_index_whose_folder_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file is a file, so .* cannot be written"):
        scan_slides(entries_of("made://a"), tmp_path / "file" / "index.parquet", plan_of())


def test_an_index_that_lost_a_column_is_made_anew(tmp_path):
    index = tmp_path / "index.parquet"
    scan(tmp_path, "made://a")
    parquet.write_table(parquet.read_table(index).drop_columns(["problem"]), index)
    assert scan(tmp_path, "made://a")["a"].problem is None
    assert "problem" in parquet.read_table(index).column_names


def test_masks_beside_an_index_are_no_slides_of_its_folder(tmp_path):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), smooth_tissue(300, 300, seed=number))
    index = tmp_path / "index.parquet"
    backend = AutoBackend(mpp=MppPolicy(missing="assume", assumed_mpp=0.25))
    for _ in range(2):
        entries = list_slides(tmp_path)
        assert [entry.name for entry in entries] == ["0.png", "1.png"]
        scan_slides(entries, index, plan_of(backend), mask_store=MaskStore(masks_beside(index)))
    assert len(list(masks_beside(index).rglob("*.png"))) == 2


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NotingBackend(SlideBackend):
    """Open slides that have something to say."""

    notes: tuple[str, ...]

    def open(self, path: Path | str) -> Slide:
        slide = SyntheticBackend().open(path)
        slide._info = replace(slide.info, notes=self.notes)
        return slide


def test_notes_about_a_slide_are_in_the_index_and_taken_over_by_the_next_scan(tmp_path):
    notes = ("level 3 is left out", "levels are known by their sizes")
    plan = plan_of(NotingBackend(notes=notes))
    first = scan(tmp_path, "made://a", plan=plan)
    assert first["a"].scan_notes == notes
    assert scan(tmp_path, "made://a", plan=plan) == first
    (row,) = parquet.read_table(tmp_path / "index.parquet").to_pylist()
    assert row["scan_notes"] == "; ".join(notes)


def test_an_index_from_before_there_were_notes_is_a_list_of_slides_and_is_scanned_over(tmp_path):
    index = tmp_path / "index.parquet"
    scan(tmp_path, "made://a")
    table = parquet.read_table(index).drop_columns(["scan_notes"])
    parquet.write_table(table, index)
    assert [entry.path for entry in list_slides(index)] == ["made://a"]
    assert scan(tmp_path, "made://a")["a"].scan_notes == ()


def test_equal_scans_are_equal_files(tmp_path):
    """Row 34 of the faults: another member, the files of a scan."""
    slides = [write_slide(tmp_path / f"{n}.svs", smooth_tissue(400, 400, seed=n)) for n in range(3)]
    files = []
    for num_threads in (1, 3):
        folder = tmp_path / f"with {num_threads}"
        masks = MaskStore(folder / "masks")
        scan(folder, *map(str, slides), plan=plan_of(AutoBackend()), mask_store=masks)
        files.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.p*")})
    assert len(files[0]) == 4
    assert files[0] == files[1]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "many"])
def test_an_index_with_numbers_that_were_changed_is_not_taken_over(tmp_path, value):
    """Row 33 of the faults: a scan ended on it, after the work."""
    index = tmp_path / "index.parquet"
    first = scan(tmp_path, "made://a")
    table = parquet.read_table(index)
    place = table.column_names.index("num_bytes")
    parquet.write_table(table.set_column(place, "num_bytes", pa.array([value])), index)
    assert scan(tmp_path, "made://a") == first
    assert parquet.read_table(index)["num_bytes"].to_pylist() == [None]

import math
import struct
from dataclasses import replace

import pytest
import tifffile

from backends.written_tiffs import write_pyramid
from eosin.backends import AutoBackend, MppPolicy, OpenSlideBackend, TiffBackend
from eosin.backends.mpp import MppHint, magnification, microns, resolution_hint
from eosin.errors import ConfigError, InputError
from made_slides import smooth_tissue, write_slide
from real_data import real_file

SCANNER = MppHint("scanner", "0.2528", "0.2528")
TIFF = MppHint("tiff", 0.5, 0.5)


@pytest.mark.parametrize(
    ("hints", "power", "mpp", "source"),
    [
        ([SCANNER, TIFF], None, 0.2528, "scanner"),
        ([MppHint("scanner", "none", ""), TIFF], None, 0.5, "tiff"),
        ([MppHint("scanner", "0", "0"), TIFF], None, 0.5, "tiff"),
        ([MppHint("scanner", "nan", "nan"), TIFF], None, 0.5, "tiff"),
        ([MppHint("scanner", 896.0, 896.0), TIFF], None, 0.5, "tiff"),
        # A tenth of the truth: 0.25 written as 2.5, which the objective gives away.
        ([MppHint("scanner", 2.5, 2.5), TIFF], "40", 0.5, "tiff"),
        ([], "40", 0.25, "inferred from the objective (40x)"),
        ([MppHint("scanner", "x", "x")], 20.0, 0.5, "inferred from the objective (20x)"),
    ],
)
def test_the_first_value_that_can_be_believed_is_taken(hints, power, mpp, source):
    found, where, _ = MppPolicy().decide("a.svs", hints, power)
    assert found == (mpp, mpp)
    assert where == source


def test_a_table_goes_before_the_file_by_name_or_path():
    for key in ("a.svs", "folder/a.svs"):
        policy = MppPolicy(overrides={key: 0.5})
        assert policy.decide("folder/a.svs", [SCANNER], "40")[:2] == ((0.5, 0.5), "override")
    assert MppPolicy(overrides={"b.svs": 0.5}).decide("a.svs", [SCANNER], None)[1] == "scanner"


def test_both_axes_are_kept():
    assert MppPolicy().decide("a", [MppHint("s", 0.25, 0.26)], None)[0] == (0.25, 0.26)


@pytest.mark.parametrize(
    ("hints", "power", "reason"),
    [
        ([], None, "does not say"),
        ([MppHint("s", 896.0, 896.0)], None, "which no slide has"),
        ([MppHint("s", "abc", "1")], "", "no numbers"),
        ([MppHint("s", 25.0 / 10, 2.5)], "40", "contradict each other"),
    ],
)
def test_without_a_usable_value_there_is_none_and_the_reason(hints, power, reason):
    policy = MppPolicy(infer_from_objective=False)
    mpp, why, _ = policy.decide("a.svs", hints, power)
    assert mpp is None
    assert reason in why


def test_a_value_can_be_assumed_and_says_so():
    policy = MppPolicy(missing="assume", assumed_mpp=0.5)
    assert policy.decide("a.svs", [], None)[:2] == (
        (0.5, 0.5),
        "assumed (does not say its microns per pixel)",
    )
    assert policy.decide("a.svs", [SCANNER], None)[1] == "scanner"


def test_a_missing_value_can_stop_everything():
    with pytest.raises(InputError, match="does not say"):
        MppPolicy(missing="raise").decide("a.svs", [], None)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"overrides": {"a": 896.0}}, "896"),
        ({"overrides": {"a": float("nan")}}, "nan"),
        ({"missing": "assume"}, "assumed_mpp=None"),
        ({"assumed_mpp": 0.5}, "missing='skip'"),
        ({"missing": "assume", "assumed_mpp": 0.0}, "assumed_mpp=0.0"),
    ],
)
def test_impossible_policies_are_refused_by_their_value(settings, named):
    with pytest.raises(ConfigError, match=named):
        MppPolicy(**settings)


@pytest.mark.parametrize(
    ("x", "unit", "mpp"),
    [(40_000.0, "centimeter", 0.25), (101_600.0, "inch", 0.25), (20_000.0, "centimeter", 0.5)],
)
def test_a_resolution_is_turned_into_microns(x, unit, mpp):
    (hint,) = resolution_hint(x, x, unit)
    assert (hint.x, hint.y) == pytest.approx((mpp, mpp))


@pytest.mark.parametrize("dots_per_inch", [72.0, 96.0])
def test_a_resolution_for_screens_is_not_believed(dots_per_inch):
    hints = resolution_hint(dots_per_inch, dots_per_inch, "inch")
    mpp, reason, _ = MppPolicy().decide("a", hints, None)
    assert mpp is None
    assert "no slide has" in reason


def test_a_resolution_without_unit_says_nothing():
    assert resolution_hint(1.0, 1.0, "none") == []
    assert resolution_hint(0.0, 0.0, "inch") == []


@pytest.mark.parametrize("backend", [OpenSlideBackend, TiffBackend])
def test_readers_agree_where_the_scale_comes_from(tmp_path, backend):
    image = smooth_tissue(300, 300)
    said = backend().open(write_slide(tmp_path / "a.svs", image, mpp=0.263)).info
    assert said.mpp == (0.263, 0.263)
    bogus = backend().open(write_slide(tmp_path / "b.svs", image, mpp="896|AppMag = 20")).info
    assert (bogus.mpp, bogus.mpp_source) == ((0.5, 0.5), "inferred from the objective (20x)")
    without = backend().open(write_slide(tmp_path / "c.svs", image, mpp=None)).info
    assert without.mpp is None


def test_a_resolution_of_another_type_is_read_as_a_number(tmp_path):
    path = write_pyramid(
        tmp_path / "a.tif",
        smooth_tissue(300, 300),
        levels=(),
        resolution=(40_000, 40_000),
        resolutionunit="CENTIMETER",
    )
    assert TiffBackend().open(path).info.mpp == (0.25, 0.25)
    with tifffile.TiffFile(path) as tiff:
        offsets = [tiff.pages.first.tags[name].offset for name in ("XResolution", "YResolution")]
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset + 2 : offset + 12] = struct.pack("<HIf", 11, 1, 20_000.0)
    path.write_bytes(content)
    info = TiffBackend().open(path).info
    assert (info.mpp, info.mpp_source) == ((0.5, 0.5), "tiff.XResolution")


@pytest.mark.parametrize(
    ("text", "um"),
    [
        *(("0.25", 0.25), ("0,25", 0.25), (" 0.25 um", 0.25), ("0.2528 \u00b5m/px", 0.2528)),
        *(("0.25 microns", 0.25), ("250 nm", 0.25), ("2.5e-1", 0.25), (".25", 0.25)),
        *(("0.25\0", 0.25), ("0.00025 mm", 0.25), (0.5, 0.5)),
    ],
)
def test_a_length_is_read_as_people_and_scanners_write_it(text, um):
    """Row 7 of the faults: a decimal comma was no number."""
    assert microns(text) == pytest.approx(um)


@pytest.mark.parametrize(
    "text", ["", "x", "1.234,5", "0.25 pt", "0.25 0.26", "nan um", None, "--1"]
)
def test_what_is_no_length_is_none(text):
    assert math.isnan(microns(text))


@pytest.mark.parametrize("text", ["20", "20x", "20 X", "20,0x", 20.0, "20\u00d7"])
def test_an_objective_is_read_as_people_and_scanners_write_it(text):
    """Row 7, found beside it: objectives with their sign."""
    assert magnification(text) == 20


@pytest.mark.parametrize("backend", [OpenSlideBackend, TiffBackend])
@pytest.mark.parametrize("written", ["0,25", "0.25 um", "0,2500 "])
def test_a_decimal_comma_is_no_reason_to_trust_the_objective(tmp_path, backend, written):
    """Row 7: `MPP = 0,25` beside 20x gave 0.5 without a word."""
    image = smooth_tissue(300, 300)
    path = write_slide(tmp_path / "a.svs", image, mpp=f"{written}|AppMag = 20")
    info = backend().open(path).info
    assert info.mpp == (0.25, 0.25)
    assert any("objective of 20x usually gives 0.5" in note for note in info.notes)


def test_sources_that_say_otherwise_are_named(tmp_path):
    """Row 7: two sources that disagree by more than 10 %."""
    near, far = MppHint("tag", 0.26, 0.26), MppHint("tag", 0.5, 0.5)
    assert MppPolicy().decide("a", [SCANNER, near], "40").notes == ()
    (note,) = MppPolicy().decide("a", [SCANNER, far], "40").notes
    assert note == "tag says 0.5 um/px, and scanner (0.2528) is taken"
    screen = MppHint("tag", 352.8, 352.8)
    assert MppPolicy().decide("a", [SCANNER, screen], "40").notes == ()
    own = MppPolicy(overrides={"a": 2.5}).decide("a", [SCANNER], "40")
    assert own.notes == (
        "scanner says 0.2528 um/px, and your own value (2.5) is taken",
        "its objective of 40x usually gives 0.25 um/px, and your own value (2.5) is taken",
    )
    (first, *_) = MppPolicy().decide("a", [MppHint("scanner", 2.5, 2.5), TIFF], "40").notes
    assert first.startswith("scanner says 2.5 microns per pixel and an objective of 40x")


@pytest.mark.parametrize(
    ("mpp", "power", "vendor"),
    [
        *((0.05, None, "aperio"), (0.05, None, ""), (0.025, "40", "aperio")),
        *((2.5, "40", "aperio"), (2.5, None, "aperio"), (5.0, "20", ""), (0.04, "20", "")),
        *((12.0, None, ""), (2.5, "40", "hamamatsu"), (0.026, None, "mirax")),
    ],
)
def test_a_value_that_such_a_slide_cannot_have_is_refused_and_not_guessed_at(mpp, power, vendor):
    """Rows 8 and 28: 0.05 um/px, and values ten times too small or large."""
    policy = MppPolicy(infer_from_objective=True)
    found = policy.decide("a", [MppHint("scanner", mpp, mpp)], power, vendor=vendor)
    assert found.mpp is None
    assert "which no" in found.source or "contradict each other" in found.source
    with pytest.raises(InputError, match=r"--mpp-overrides NAME UM or --assume-mpp UM"):
        replace(policy, missing="raise").decide("a", [MppHint("s", mpp, mpp)], power, vendor=vendor)
    given = MppPolicy(overrides={"a": 0.25}).decide("a", [MppHint("s", mpp, mpp)], power)
    assert given.mpp == (0.25, 0.25)


@pytest.mark.parametrize(
    ("mpp", "vendor", "note"),
    [
        (0.1, "aperio", "unusual"),
        (1.6, "aperio", "unusual"),
        (0.09, "", "unusual"),
        (4.0, "", "unusual"),
        (0.2528, "aperio", None),
        (1.0, "", None),
        (0.12, "", None),
    ],
)
def test_a_value_near_the_bounds_is_noted(mpp, vendor, note):
    """Row 28: a warning near them."""
    found = MppPolicy().decide("a", [MppHint("s", mpp, mpp)], None, vendor=vendor)
    assert found.mpp == (mpp, mpp)
    assert (note is None and found.notes == ()) or note in found.notes[0]


def test_a_slide_that_would_be_larger_than_glass_is_refused():
    """Row 8, found beside it: a scale at which the slide would not fit its glass."""
    hints = [MppHint("tag", 2.5, 2.5)]
    found = MppPolicy().decide("a", hints, None, size_l0=(40_000, 30_000))
    assert found.mpp is None
    assert "75 x 100 mm large" in found.source
    assert MppPolicy().decide("a", hints, None, size_l0=(20_000, 8_000)).mpp == (2.5, 2.5)


def test_oblong_pixels_are_noted():
    """Row 8, found beside it."""
    found = MppPolicy().decide("a", [MppHint("s", 0.25, 0.3)], None)
    assert found.notes == ("its pixels are oblong (0.25 x 0.3 um)",)


@pytest.mark.data
def test_good_slides_have_no_notes_about_their_scale():
    for folder in ("wsi", "wsi_1um"):
        for path in sorted(real_file("data", folder).iterdir()):
            with AutoBackend().open(path) as slide:
                assert slide.info.notes == (), path

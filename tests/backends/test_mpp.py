import struct

import pytest
import tifffile

from backends.written_tiffs import write_pyramid
from eosin.backends import MppPolicy, OpenSlideBackend, TiffBackend
from eosin.backends.mpp import MppHint, resolution_hint
from eosin.errors import ConfigError, InputError
from made_slides import smooth_tissue, write_slide

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
    found, where = MppPolicy().decide("a.svs", hints, power)
    assert found == (mpp, mpp)
    assert where == source


def test_a_table_goes_before_the_file_by_name_or_path():
    for key in ("a.svs", "folder/a.svs"):
        policy = MppPolicy(overrides={key: 0.5})
        assert policy.decide("folder/a.svs", [SCANNER], "40") == ((0.5, 0.5), "override")
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
    mpp, why = policy.decide("a.svs", hints, power)
    assert mpp is None
    assert reason in why


def test_a_value_can_be_assumed_and_says_so():
    policy = MppPolicy(missing="assume", assumed_mpp=0.5)
    assert policy.decide("a.svs", [], None) == (
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
    mpp, reason = MppPolicy().decide("a", hints, None)
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

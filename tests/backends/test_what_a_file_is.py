"""Rows 9 to 12, 20, 26, 27 and 31 of the faults: which files are slides, and which pages levels."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from eosin.backends import AutoBackend, OpenSlideBackend, TiffBackend
from eosin.backends.base import SlideBackend
from eosin.backends.tiff_levels import fit_level
from eosin.errors import SlideOpenError
from eosin.tissue import HSVTissueDetector
from made_slides import smooth_tissue

TILE = 32
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
READERS = pytest.mark.parametrize(
    "backend", [TiffBackend(), OpenSlideBackend(), AutoBackend()], ids=lambda b: type(b).__name__
)


def landmark(width: int, height: int) -> np.ndarray:
    """Draw tissue with a dark square, of which the middle is at 3/4 of the width and height."""
    image = smooth_tissue(width, height)
    x, y, half = 3 * width // 4, 3 * height // 4, width // 32
    image[y - half : y + half, x - half : x + half] = (20, 10, 60)
    return image


def shrunk(image: np.ndarray, downsample: float, size: tuple[int, int]) -> np.ndarray:
    """Return a level of any size whose pixels have exactly the scale of a downsample."""
    true = [math.ceil(side / downsample) for side in image.shape[1::-1]]
    matrix = np.float32([[1 / downsample, 0, 0], [0, 1 / downsample, 0]])
    blurred = cv2.GaussianBlur(image, (0, 0), downsample / 2)
    level = np.full((size[1], size[0], 3), 255, np.uint8)
    drawn = cv2.warpAffine(blurred, matrix, true, borderMode=cv2.BORDER_REPLICATE)
    height, width = min(size[1], true[1]), min(size[0], true[0])
    level[:height, :width] = drawn[:height, :width]
    return level


def write(path: Path, *pages: np.ndarray, marked: bool = True, **settings: object) -> Path:
    how = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "deflate", **settings}
    with tifffile.TiffWriter(path) as tiff:
        for number, page in enumerate(pages):
            kind = {"subfiletype": int(number > 0)} if marked else {}
            tiff.write(page, metadata=None, **how, **kind)
    return path


def whole_tiles(side: float) -> int:
    return math.ceil(side / TILE) * TILE


def middle_of_landmark(backend: SlideBackend, path: Path) -> list[tuple[float, float, float]]:
    """Return where each level has the middle of the dark square, in level-0 px, and its scale."""
    found = []
    with backend.open(path) as slide:
        for number, level in enumerate(slide.info.levels):
            region = slide.read_region(0, 0, number, level.width, level.height)
            dark = cv2.threshold(region[:, :, 0], 80, 1, cv2.THRESH_BINARY_INV)[1]
            ys, xs = np.nonzero(dark)
            assert len(xs), number
            scale = level.downsample
            found.append(((xs.mean() + 0.5) * scale, (ys.mean() + 0.5) * scale, scale))
    return found


@READERS
@given(
    width=st.integers(1100, 1500),
    height=st.integers(1100, 1500),
    kinds=st.lists(
        st.sampled_from(["exact", "padded", "cropped", "off by one"]), min_size=2, max_size=2
    ),
)
@settings(max_examples=15, deadline=None, phases=NO_SHRINKING)
def test_a_landmark_is_at_one_place_on_all_levels_or_the_level_is_left_out(
    tmp_path_factory: pytest.TempPathFactory,
    backend: SlideBackend,
    width: int,
    height: int,
    kinds: list[str],
):
    """Row 10: levels that were padded to whole tiles were read at 3.29 and 8.2 for 4 and 16."""
    image = landmark(width, height)
    pages = [image]
    for downsample, kind in zip((2, 8), kinds, strict=True):
        true = (width / downsample, height / downsample)
        size = {
            "exact": [int(side) for side in true],
            "padded": [whole_tiles(math.ceil(side)) for side in true],
            "cropped": [max(TILE, int(side / TILE) * TILE) for side in true],
            "off by one": [int(side) + 1 for side in true],
        }[kind]
        pages.append(shrunk(image, downsample, (size[0], size[1])))
    path = write(tmp_path_factory.mktemp("slides") / "a.tif", *pages)
    try:
        places = middle_of_landmark(backend, path)
    except SlideOpenError:
        return  # refused with a reason is right as well
    for x, y, scale in places:
        assert abs(x - 3 * width // 4) <= 1.5 * scale
        assert abs(y - 3 * height // 4) <= 1.5 * scale
    with backend.open(path) as slide:
        num_left_out = len(pages) - len(slide.info.levels)
        assert len([note for note in slide.info.notes if "left out" in note]) >= num_left_out


def test_levels_padded_to_whole_tiles_keep_their_scale(tmp_path: Path):
    """Row 10: the numbers of the report."""
    image = landmark(2104, 2104)
    padded = [shrunk(image, d, (whole_tiles(2104 / d),) * 2) for d in (4, 16)]
    with AutoBackend().open(write(tmp_path / "a.tif", image, *padded)) as slide:
        assert slide.info.reader == "tiff"
        assert [level.downsample for level in slide.info.levels] == [1.0, 4.0, 16.0]
        assert [level.width for level in slide.info.levels] == [2104, 526, 131]
    with OpenSlideBackend().open(tmp_path / "a.tif") as slide:
        assert len(slide.info.levels) == 1
        assert all("padded to whole tiles" in note for note in slide.info.notes)


@pytest.mark.parametrize(
    ("size", "what"),
    [
        ((526, 526), (4.0, 526, 526)),
        ((525, 527), (4.0, 525, 527)),
        ((576, 576), (4.0, 526, 526)),
        ((192, 192), (16.0, 131, 131)),
        ((704, 704), (3.0, 701, 701)),
        ((210, 210), (2104 / 210, 210, 210)),
        ((2200, 526), "is larger than level 0"),
        ((2104, 2104), "is about as large as level 0"),
        ((500, 260), "another shape"),
        ((64, 64), "cut to whole tiles"),
    ],
)
def test_a_level_lies_over_level_0_by_its_true_scale(size: tuple[int, int], what: object):
    fit = fit_level((2104, 2104), size, (64, 64))
    if isinstance(what, str):
        assert isinstance(fit, str)
        assert what in fit
    else:
        assert not isinstance(fit, str)
        assert fit == pytest.approx(what, rel=2e-3)
    assert fit_level((2104, 2104), (64, 64), (64, 64), expected=64.0)[0] == 64.0


@pytest.mark.parametrize("backend", [TiffBackend(), AutoBackend()])
def test_a_pyramid_without_marks_keeps_its_levels_and_says_so(tmp_path: Path, backend):
    """Row 11: without SUBFILETYPE three of four levels were dropped without a word."""
    image = landmark(1600, 1200)
    levels = [shrunk(image, d, (1600 // d, 1200 // d)) for d in (2, 4, 8)]
    label = np.full((256, 192, 3), 200, np.uint8)
    path = write(tmp_path / "a.tif", image, *levels, label, marked=False)
    with backend.open(path) as slide:
        assert [level.downsample for level in slide.info.levels] == [1, 2, 4, 8]
        assert any("told by their size" in note for note in slide.info.notes)


def noise(width: int, height: int) -> np.ndarray:
    coarse = np.random.default_rng(1).integers(
        0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8
    )
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


@pytest.mark.parametrize("downsample", [8, 10, 16])
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("aperio", [True, False])
def test_a_macro_of_the_slides_shape_is_no_level(
    tmp_path: Path, downsample: int, marked: bool, aperio: bool
):
    """Row 26: a tiled macro, marked reduced, became a level, and the mask was drawn on it."""
    image = landmark(1600, 1600)
    macro = noise(1600 // downsample, 1600 // downsample)
    pages = [image, shrunk(image, 4, (400, 400)), macro]
    how = {"description": "Aperio Image Library|MPP = 0.25"} if aperio else {}
    path = write(tmp_path / "a.tif", *pages, marked=marked, **how)
    with AutoBackend().open(path) as slide:
        assert [level.width for level in slide.info.levels] == [1600, 400]
        is_other_page = not (marked or aperio) and downsample == 10  # which nobody calls a level
        assert is_other_page or any("left out" in note for note in slide.info.notes)
        thumbnail = slide.thumbnail(200)
        expected = cv2.resize(image, (200, 200), interpolation=cv2.INTER_AREA)
        assert np.abs(thumbnail.astype(int) - expected).mean() < 4


def test_a_macro_of_another_shape_does_not_cost_the_slide(tmp_path: Path):
    """Row 26: one of another shape lost the whole slide."""
    image = landmark(1600, 1600)
    path = write(tmp_path / "a.tif", image, shrunk(image, 4, (400, 400)), noise(400, 180))
    with AutoBackend().open(path) as slide:
        assert (slide.info.reader, len(slide.info.levels)) == ("tiff", 2)
        assert "another shape than level 0" in slide.info.notes[0]


def test_blank_levels_and_levels_that_a_scanner_sharpens_stay(tmp_path: Path):
    """Row 26, the other way round: what is a level must not be taken for a macro."""
    white = np.full((1024, 1024, 3), 255, np.uint8)
    with AutoBackend().open(write(tmp_path / "w.tif", white, white[::4, ::4])) as slide:
        assert len(slide.info.levels) == 2
    image = landmark(1600, 1600)
    small = shrunk(image, 4, (400, 400)).astype(np.float32)
    sharp = np.clip(2 * small - cv2.GaussianBlur(small, (0, 0), 2), 0, 255).astype(np.uint8)
    darker = (sharp * 0.9).astype(np.uint8)
    with AutoBackend().open(write(tmp_path / "s.tif", image, darker)) as slide:
        assert (len(slide.info.levels), slide.info.notes) == (2, ())


GREY = smooth_tissue(600, 600)[:, :, 0]
NO_SLIDES = {
    "grey": (GREY, {"photometric": "minisblack"}, "is grey"),
    "grey the other way round": (GREY, {"photometric": "miniswhite"}, "is grey"),
    "16 bits": (smooth_tissue(600, 600).astype(np.uint16) * 257, {}, "has 16 bits"),
    "16 bits of grey": (GREY.astype(np.uint16), {"photometric": "minisblack"}, "has 16 bits"),
    "floats": (GREY.astype(np.float32), {"photometric": "minisblack"}, "has 32 bits"),
    "a mask": ((GREY > 200).astype(np.uint8), {"photometric": "minisblack"}, "is grey"),
    "a mask of bits": (GREY > 200, {"photometric": "minisblack"}, "has 1 bit "),
    "a label image": (
        (GREY // 64).astype(np.uint8),
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
        "has a palette",
    ),
}


@READERS
@pytest.mark.parametrize(("image", "how", "what"), NO_SLIDES.values(), ids=NO_SLIDES.keys())
def test_what_is_no_picture_in_colour_is_refused_by_every_reader(
    tmp_path: Path, backend: SlideBackend, image: np.ndarray, how: dict, what: str
):
    """Rows 12 and 27: masks and 16 bits went through OpenSlide and were streamed as tissue."""
    path = write(tmp_path / "a.tif", image, **how)
    with pytest.raises(SlideOpenError, match=what):
        backend.open(path)


def test_what_only_cannot_be_decoded_here_is_left_to_openslide(tmp_path: Path):
    """Row 27: only the reasons of a reader are handed on."""
    image = smooth_tissue(600, 600)
    with AutoBackend().open(write(tmp_path / "a.tif", image, predictor=2)) as slide:
        assert slide.info.reader == "tiff"
    rgba = np.dstack([image, np.full((600, 600, 1), 255, np.uint8)])
    path = write(tmp_path / "b.tif", rgba, extrasamples=["unassalpha"])
    with AutoBackend().open(path) as slide:
        assert slide.info.reader == "openslide"


APERIO = "Aperio Image Library v11.2.1\r\n46000x32914 [0,100] (256x256)|AppMag = 20|MPP = 0.4990"
DESCRIPTIONS = {
    "text": APERIO.encode(),
    "latin-1": (APERIO + "|User = M\u00fcller").encode("latin-1"),
    "utf-8": (APERIO + "|User = M\u00fcller").encode(),
    "a byte that is no letter": APERIO.encode() + b"|Title = \x81\x8d\xff",
    "utf-16": APERIO.encode("utf-16"),
    "utf-16 without a mark": APERIO.encode("utf-16-le"),
    "utf-16 the other way round": b"\xfe\xff" + APERIO.encode("utf-16-be"),
    "zeros at the end": APERIO.encode() + b"\0\0\0",
    "a mark before it": b"\xef\xbb\xbf" + APERIO.encode(),
}


@pytest.mark.parametrize("kind", ["s", "B"])
@pytest.mark.parametrize("coded", DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_a_description_is_read_however_it_is_written(tmp_path: Path, coded: bytes, kind: str):
    """Row 9: three levels became one, and vendor and um/px were lost."""
    image = smooth_tissue(1200, 1200)
    with tifffile.TiffWriter(tmp_path / "a.svs") as tiff:
        for page in (image, image[::2, ::2], image[::4, ::4]):
            tiff.write(
                page,
                tile=(TILE, TILE),
                photometric="rgb",
                metadata=None,
                extratags=[(270, kind, len(coded), coded, True)],
            )
    with AutoBackend().open(tmp_path / "a.svs") as slide:
        assert (slide.info.vendor, slide.info.mpp) == ("aperio", (0.499, 0.499))
        assert len(slide.info.levels) == 3


CODECS = {
    "zstd": {},
    "lzma": {},
    "packbits": {},
    "png": {},
    "jpegxl": {"compressionargs": {"lossless": True}},
    "lerc": {},
    "lzw": {"predictor": 2},
    "deflate": {"predictor": 2},
}


@pytest.mark.parametrize(("codec", "how"), CODECS.items(), ids=CODECS.keys())
@given(seed=st.integers(0, 2**32 - 1), noisy=st.booleans())
@settings(max_examples=5, deadline=None)
def test_codecs_are_read_to_the_pixel(
    tmp_path_factory: pytest.TempPathFactory, codec: str, how: dict, seed: int, noisy: bool
):
    """Row 20: codecs that imagecodecs decodes."""
    rng = np.random.default_rng(seed)
    image = (
        rng.integers(0, 256, (150, 200, 3), np.uint8)
        if noisy
        else smooth_tissue(200, 150, seed % 99)
    )
    path = write(tmp_path_factory.mktemp("codecs") / "a.tif", image, compression=codec, **how)
    with TiffBackend().open(path) as slide:
        assert np.array_equal(slide.read_region(0, 0, 0, 200, 150), image)
        assert np.array_equal(slide.read_region(33, 70, 0, 90, 60), image[70:130, 33:123])


def test_a_codec_that_is_not_known_is_called_by_its_name(tmp_path: Path):
    """Row 31: "compressed by method 50002"."""
    path = write(tmp_path / "a.tif", smooth_tissue(200, 200), compression="jpegxr")
    with pytest.raises(SlideOpenError, match=r"compressed by JPEGXR_NDPI|compressed by JPEGXR"):
        AutoBackend().open(path)


@pytest.mark.parametrize("num_labels", [2, 5])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_mask_stored_in_colour_is_no_slide(tmp_path: Path, num_labels: int, suffix: str):
    """Row 12, found beside it: masks and labels as RGB pictures lie beside slides."""
    rows, columns = np.mgrid[0:700, 0:900] // 90
    labels = (rows * 3 + columns) % num_labels
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (90, 0, 200), (255, 255, 0)], np.uint8)
    path = tmp_path / f"mask{suffix}"
    if suffix == ".tif":
        write(path, colours[labels])
    else:
        cv2.imwrite(str(path), colours[labels])
    with AutoBackend().open(path) as slide, pytest.raises(SlideOpenError, match="flat colours"):
        HSVTissueDetector().tissue(slide)


def test_glass_and_tissue_are_no_masks(tmp_path: Path):
    white = np.full((600, 600, 3), 243, np.uint8)
    white[::7] = 241
    for number, image in enumerate((white, smooth_tissue(600, 600))):
        with AutoBackend().open(write(tmp_path / f"{number}.tif", image)) as slide:
            HSVTissueDetector().tissue(slide)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(9, ""), (8, ""), (1, "Aperio Image Library v11\r\nmacro 512x512"), (1, "label 512x512")],
)
@pytest.mark.parametrize("aperio", [True, False])
def test_a_page_that_the_file_calls_a_macro_is_no_level_whatever_it_shows(
    tmp_path: Path, kind: int, text: str, aperio: bool
):
    """Row 26: a flat macro became a level, and the slide was taken for a mask."""
    image = landmark(2048, 2048)
    flat = np.full((512, 512, 3), 200, np.uint8)
    flat[100:400, 100:400] = (90, 60, 120)
    with tifffile.TiffWriter(tmp_path / "a.svs") as tiff:
        for page, subfiletype, description in (
            (image, 0, "Aperio Image Library v11|MPP = 0.5" if aperio else "made"),
            (image[::4, ::4], 1, ""),
            (flat, kind, text),
        ):
            tiff.write(
                np.ascontiguousarray(page),
                tile=(TILE, TILE),
                photometric="rgb",
                compression="deflate",
                subfiletype=subfiletype,
                description=description,
                metadata=None,
            )
    with AutoBackend().open(tmp_path / "a.svs") as slide:
        assert [level.width for level in slide.info.levels] == [2048, 512]
        assert any("calls it a macro" in note for note in slide.info.notes)
        assert HSVTissueDetector().tissue(slide).tissue_fraction > 0.3

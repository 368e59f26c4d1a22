"""Headers that ask for what cannot be are refused quickly, by every reader."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from backends.written_tiffs import write_pyramid
from eosin.backends import AutoBackend, MppPolicy, OpenSlideBackend, SyntheticBackend
from eosin.backends.thumbnail import read_thumbnail
from eosin.errors import SlideOpenError, SlideReadError
from eosin.geometry import Level
from eosin.pipeline import PatchPipeline
from eosin.sampling import RandomSampler
from eosin.tissue import HSVTissueDetector
from made_slides import smooth_tissue, write_slide
from scan.scanning import plan_of, scan

IMAGE = smooth_tissue(700, 600)
IMAGE_WIDTH, IMAGE_LENGTH, BITS, COMPRESSION, TILE_LENGTH, OFFSETS = 256, 257, 258, 259, 323, 324


def pyramid(path: Path, **settings) -> Path:
    return write_pyramid(path, IMAGE, subsampling=(2, 2), **settings)


def set_tag(path: Path, page: int, code: int, value: int, part: str = "value") -> Path:
    """Change the value or the count of a tag (its first value, where it has several)."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[page].tags[code]
    form = {3: "<H", 4: "<I"}[int(tag.dtype)] if part == "value" else "<I"
    at = tag.valueoffset if part == "value" else tag.offset + 4
    content = bytearray(path.read_bytes())
    if part == "value" and value >= 2 ** (8 * struct.calcsize(form)):
        struct.pack_into("<H", content, tag.offset + 2, 4)
        form, at = "<I", tag.offset + 8
    struct.pack_into(form, content, at, value)
    path.write_bytes(content)
    return path


def next_page_at(path: Path, page: int) -> int:
    """Return where a page says where the next one is."""
    with tifffile.TiffFile(path) as tiff:
        return max(tag.offset for tag in tiff.pages[page].tags) + 12


def with_next_page(path: Path, page: int, offset: int) -> None:
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, next_page_at(path, page), offset)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("page", "code", "value"),
    [
        (2, IMAGE_LENGTH, 16_777_216),
        (2, IMAGE_WIDTH, 16_777_216),
        (0, IMAGE_LENGTH, 2**31 - 1),
        (1, IMAGE_WIDTH, 1),
        (1, TILE_LENGTH, 16),
    ],
)
def test_a_number_of_tiles_that_cannot_be_is_damage_for_every_reader(tmp_path, page, code, value):
    """Row 32 of the faults: such a file went to OpenSlide, which read billions of pixels."""
    path = set_tag(pyramid(tmp_path / "a.tif"), page, code, value)
    with pytest.raises(SlideOpenError, match=r"damaged.* tiles, but places of"):
        AutoBackend().open(path)


def test_too_few_places_of_tiles_are_damage_for_every_reader(tmp_path):
    """Row 32 of the faults: the other side of it."""
    path = set_tag(pyramid(tmp_path / "a.tif"), 1, OFFSETS, 2, "count")
    with pytest.raises(SlideOpenError, match=r"damaged.* places of 2 and sizes of 9"):
        AutoBackend().open(path)


def test_a_page_that_is_left_to_openslide_is_looked_at_as_well(tmp_path):
    """Row 32 of the faults: a file that the direct reader does not take for another reason."""
    path = pyramid(tmp_path / "a.tif", description="Aperio x|OverlapsXY", levels=(2, 4))
    with pytest.raises(SlideOpenError, match="damaged"):
        AutoBackend().open(set_tag(path, 2, IMAGE_LENGTH, 16_777_216))


def test_compressed_tiles_of_a_page_that_says_they_are_not_are_damage(tmp_path):
    """Row 32 of the faults: OpenSlide read all of the finest level as raw pixels."""
    path = set_tag(pyramid(tmp_path / "a.tif"), 0, COMPRESSION, 1)
    with pytest.raises(SlideOpenError, match="uncompressed tiles of at most"):
        AutoBackend().open(path)


@pytest.mark.parametrize(("code", "part", "value"), [(BITS, "value", 9), (IMAGE_WIDTH, "count", 2)])
def test_levels_that_openslide_leaves_out_are_damage(tmp_path, code, part, value):
    """Row 32 of the faults: libtiff stops at a page that it cannot read, and says nothing."""
    path = pyramid(tmp_path / "a.tif", description="Aperio Image Library v1.0|MPP = 0.25")
    # A missing tile is what leaves such a file to OpenSlide.
    set_tag(path, 1, 325, 0)
    assert len(AutoBackend().open(path).info.levels) == 3
    set_tag(path, 2, code, value, part)
    with pytest.raises(SlideOpenError, match="damaged"):
        AutoBackend().open(path)


def test_a_scan_and_a_stream_go_on_beside_a_damaged_header(tmp_path):
    """Row 32 of the faults: the scan did not end, and the stream starved the good slide."""
    bad = set_tag(pyramid(tmp_path / "bad.tif"), 2, IMAGE_LENGTH, 16_777_216)
    good = write_slide(tmp_path / "good.svs", IMAGE)
    backend = AutoBackend(mpp=MppPolicy(missing="assume", assumed_mpp=0.5))
    rows = scan(tmp_path, str(bad), str(good), plan=plan_of(backend))
    assert "tiles, but places of" in rows["bad.tif"].problem
    assert rows["good.svs"].problem is None
    pipeline = PatchPipeline(
        slide_paths=[bad, good],
        backend=backend,
        tissue_detector=HSVTissueDetector(),
        sampler=RandomSampler(patch_size=64, level=0, tissue_threshold=0.1),
        pool_size=2,
        patches_per_slide=4,
        max_quarantined_fraction=1.0,
    )
    names = {Path(pipeline.read(index).coordinate.slide_path).name for index in range(8)}
    assert names == {"good.svs"}


def chained(path: Path, num_pages: int) -> Path:
    """Hang a chain of pages with one tag each on the end of a slide."""
    end = path.stat().st_size
    size = 2 + 12 + 4
    pages = np.zeros((num_pages, size), np.uint8)
    entry = np.frombuffer(struct.pack("<HHHII", 1, 256, 3, 1, 16), np.uint8)
    pages[:, : len(entry)] = entry
    places = end + size * np.arange(1, num_pages + 1)
    places[-1] = 0
    pages[:, -4:] = places.astype("<u4").view(np.uint8).reshape(-1, 4)
    with_next_page(path, 2, end)
    with path.open("ab") as file:
        file.write(pages.tobytes())
    return path


def test_a_chain_of_pages_is_followed_no_further_than_a_slides_could_go(tmp_path):
    """Row 21 of the faults: 100,000 chained pages took 15 s and 525 MB."""
    path = chained(pyramid(tmp_path / "a.tif"), 100_000)
    with pytest.raises(SlideOpenError, match="more than 1024 pages, which no slide has"):
        AutoBackend().open(path)


@pytest.mark.parametrize("length", [0, 3, 150, 900])
def test_pages_that_lead_back_to_an_earlier_one_are_damage(tmp_path, length):
    """Row 21 of the faults: a loop has no end at all."""
    path = pyramid(tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tiff:
        third = tiff.pages[2].offset
    if length == 0:
        with_next_page(path, 2, third)
    else:
        end = path.stat().st_size
        chained(path, length)
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, len(content) - 4, end)
        path.write_bytes(content)
    with pytest.raises(SlideOpenError, match="pages lead back to an earlier one"):
        AutoBackend().open(path)


def test_a_page_with_too_many_pages_below_it_is_refused(tmp_path):
    """Row 21 of the faults: SubIFDs are pages as well."""
    path = pyramid(tmp_path / "a.tif", as_subifds=True)
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags["SubIFDs"]
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, tag.offset + 4, 100_000, len(content))
    path.write_bytes(content + struct.pack("<I", tag.value[0]) * 100_000)
    with pytest.raises(SlideOpenError, match="more than 1024 pages"):
        AutoBackend().open(path)


@pytest.mark.parametrize(
    ("width", "height"), [(555, 16_777_216), (16_777_216, 555), (60_000, 60_000)]
)
def test_a_thumbnail_reads_no_more_pixels_than_a_file_can_hold(width, height):
    """Row 32 of the faults: whichever reader finds such a level."""
    with SyntheticBackend().open("made://a") as slide:
        finest = replace(
            slide.info,
            levels=(
                Level(width=width, height=height, downsample=1.0),
                Level(width=2, height=2, downsample=4.0),
            ),
        )
    asked = []

    def shrink(source):
        asked.append(source)
        return np.zeros((source.height, source.width, 3), np.uint8)

    assert read_thumbnail(finest, 10_000_000, 512, shrink).shape == (2, 2, 3)
    assert [source.level for source in asked] == [1]
    with pytest.raises(SlideReadError, match=f"level 0 has {width} x {height} px in a file of 10"):
        read_thumbnail(replace(finest, levels=finest.levels[:1]), 10_000_000, 512, shrink)
    whole = replace(finest, levels=(Level(width=60_000, height=60_000, downsample=1.0),))
    assert read_thumbnail(whole, 100_000_000, 512, shrink).shape == (512, 512, 3)


def test_openslides_thumbnails_are_bounded_by_the_length_of_the_file(tmp_path, monkeypatch):
    """Row 32 of the faults: OpenSlide takes a level at its word."""
    path = write_slide(tmp_path / "a.svs", IMAGE)
    slide = OpenSlideBackend().open(path)
    huge = tuple(replace(level, width=555, height=16_777_216) for level in slide.info.levels)
    monkeypatch.setattr(slide, "_info", replace(slide.info, levels=huge))
    with pytest.raises(SlideReadError, match="which cannot be; the file is damaged"):
        slide.thumbnail(512)


def test_an_ome_description_that_is_no_xml_costs_its_scale_and_not_the_levels(tmp_path):
    """Row 32 of the faults: OpenSlide, which took the file instead, finds one level of it."""
    text = '<?xml version="1.0"?><OME xmlns="x"><Image><Pixels SizeC="3"/></Image></OME>'
    path = pyramid(tmp_path / "a.ome.tif", as_subifds=True, description=text)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"<Image>", b"<Image "))
    info = AutoBackend().open(path).info
    assert (info.reader, info.vendor, len(info.levels)) == ("tiff", "generic-tiff", 3)


def test_a_resolution_of_the_wrong_type_is_none(tmp_path):
    """Row 32 of the faults: the same, for a tag that no pixel depends on."""
    path = pyramid(tmp_path / "a.tif", resolution=(40000, 40000), resolutionunit="CENTIMETER")
    assert AutoBackend().open(path).info.mpp is not None
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].tags["XResolution"].offset + 2
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, at, 2)
    path.write_bytes(content)
    info = AutoBackend().open(path).info
    assert (info.reader, info.mpp) == ("tiff", None)

"""Damaged tiles fail as tiles do, at once and in little memory, whatever their headers say."""

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile

from eosin.backends.tiff import TiffBackend
from eosin.backends.tiles import JpegDecoder, PackedDecoder, TileDecoder, TileError, read_frame
from eosin.errors import SlideOpenError, SlideReadError
from made_slides import smooth_tissue, write_slide

TILE = smooth_tissue(64, 64)
JPEG = imagecodecs.jpeg8_encode(TILE, level=90, subsampling="420")
HUGE = 60_000


def packed(compression: int, **settings) -> PackedDecoder:
    defaults = {"predicts": False, "is_ycbcr": False}
    return PackedDecoder(64, 64, compression=compression, **defaults | settings)


def jpeg() -> JpegDecoder:
    return JpegDecoder(64, 64, tables=None, is_rgb=False)


def with_size(data: bytes, offset: int, form: str) -> bytes:
    """Return the data with a huge height and width in its header."""
    size = struct.pack(form, HUGE, HUGE)
    return data[:offset] + size + data[offset + len(size) :]


def jpeg2000(image: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", level=0))


def huge_jpeg2000() -> bytes:
    # Image and tile: one tile as large as all is what the codec would set out to decode.
    return with_size(with_size(jpeg2000(TILE), 8, ">II"), 24, ">II")


HUGE_TILES = {
    "jpeg": (jpeg(), with_size(JPEG, read_frame(JPEG).position + 5, ">HH")),
    "jpeg 2000": (packed(33005), huge_jpeg2000()),
    "webp": (packed(50001), imagecodecs.webp_encode(np.zeros((999, 999, 3), np.uint8))),
    "deflate": (packed(8), imagecodecs.zlib_encode(bytes(10**7))),
}


@pytest.mark.parametrize("kind", HUGE_TILES)
def test_a_tile_that_says_it_is_huge_is_refused_before_it_is_unpacked(kind):
    decoder, data = HUGE_TILES[kind]
    with pytest.raises(TileError):
        decoder.decode(data, 64)
    with pytest.raises(TileError):
        decoder.decode_reduced(data, 4)


def test_lzw_is_unpacked_no_further_than_the_tile_goes():
    assert (packed(5).decode(imagecodecs.lzw_encode(TILE.tobytes()), 64) == TILE).all()
    with pytest.raises(TileError, match="12289 bytes or more instead of 12288"):
        packed(5).decode(imagecodecs.lzw_encode(TILE.tobytes() + bytes(10**7)), 64)
    with pytest.raises(TileError, match="12000 bytes instead of 12288"):
        packed(5).decode(imagecodecs.lzw_encode(bytes(12000)), 64)


@pytest.mark.parametrize(
    ("decoder", "data"), [(jpeg(), JPEG), (packed(33005), jpeg2000(TILE))], ids=["jpeg", "jpeg2000"]
)
def test_any_damage_to_a_header_is_a_tile_error_or_a_tile(decoder: TileDecoder, data: bytes):
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(data[: rng.integers(0, len(data))] if rng.random() < 0.3 else data)
        for at in rng.integers(0, max(1, min(len(damaged), 700)), 3):
            damaged[at : at + 1] = bytes([rng.integers(256)])
        for read in (
            lambda d=bytes(damaged): decoder.decode(d, 20),
            lambda d=bytes(damaged): decoder.decode_reduced(d, 2),
        ):
            try:
                pixels = read()
            except TileError:
                continue
            assert pixels.shape[1:] in ((64, 3), (32, 3))


def test_a_jpeg_whose_header_ends_in_its_colours_is_a_tile_error():
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    with pytest.raises(TileError, match="no JPEG"):
        read_frame(b"\xff\xd8" + adobe)


def test_a_jpeg_without_sampling_is_a_tile_error(tmp_path):
    path = write_slide(tmp_path / "a.svs", smooth_tissue(300, 300), compression="jpeg")
    content = path.read_bytes()
    at = content.find(b"\xff\xc0\x00\x11")
    damaged = bytearray(content)
    for channel in range(3):
        damaged[at + 11 + 3 * channel] = 0
    path.write_bytes(damaged)
    with TiffBackend().open(path) as slide, pytest.raises(SlideReadError, match="tile 0"):
        slide.read_region(0, 0, 0, 50, 50)


def test_threads_and_slides_do_not_disturb_the_tile_that_was_read_before():
    small, large = jpeg(), JpegDecoder(128, 128, tables=None, is_rgb=False)
    other = imagecodecs.jpeg8_encode(smooth_tissue(128, 128), level=90, subsampling="420")
    first = small.decode(JPEG, 64).copy()
    large.decode(other, 128)
    assert (small.decode(JPEG, 64) == first).all()


@pytest.mark.parametrize(
    ("tag", "value", "says"),
    [
        (257, 0, "no pixels|in 0 tiles"),  # ImageLength
        (256, 0, "no pixels|in 0 tiles|no readable"),  # ImageWidth
        (322, 60000, "too large|in 3 tiles"),  # TileWidth
        (266, 2, "reverse order"),  # FillOrder
        (317, 2, "predictor"),  # Predictor of a JPEG
    ],
)
def test_a_page_that_makes_no_sense_is_refused(tmp_path, tag, value, says):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            smooth_tissue(300, 300),
            tile=(128, 128),
            compression="jpeg",
            photometric="rgb",
            metadata=None,
        )
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        entry = tags.get(tag, tags["ResolutionUnit"])
        at, size = entry.valueoffset, {3: 2, 4: 4}[int(entry.dtype)]
    content = bytearray(path.read_bytes())
    content[entry.offset : entry.offset + 2] = tag.to_bytes(2, "little")
    content[at : at + size] = value.to_bytes(size, "little")
    path.write_bytes(content)
    with pytest.raises(SlideOpenError, match=says):
        TiffBackend().open(path)

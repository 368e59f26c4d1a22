"""Damaged tiles fail as tiles do, at once and in little memory, whatever their headers say."""

import contextlib
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from eosin.backends import AutoBackend
from eosin.backends.tiff import TiffBackend, UnclaimedSlideError
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


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
IS_RGB, IS_YCBCR = (
    b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + end for end in (b"\0", b"\1")
)
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


@pytest.mark.parametrize("is_rgb", [False, True])
@pytest.mark.parametrize("marker", [b"", JFIF, IS_RGB, IS_YCBCR, IS_RGB + JFIF, IS_YCBCR + IS_RGB])
def test_the_page_says_how_colours_are_stored_whatever_a_tile_says(is_rgb, marker):
    """Row 5 of the faults: as OpenSlide has it, and as it was with the other decoder."""
    encoded = bytes(imagecodecs.jpeg8_encode(NOISE, level=90, subsampling="444"))
    frame = read_frame(encoded)
    bare = b"\xff\xd8" + encoded[encoded.find(b"\xff\xdb") :]
    assert frame.width == 64
    expected = imagecodecs.jpeg8_decode(
        bare, colorspace="rgb" if is_rgb else "ycbcr", outcolorspace="rgb"
    )
    decoder = JpegDecoder(64, 64, tables=None, is_rgb=is_rgb)
    for num_rows in (-1, 64, 20):
        pixels = decoder.decode(bare[:2] + marker + bare[2:], num_rows)
        assert (pixels[:20] == expected[:20]).all()


@pytest.mark.parametrize("settings", [(), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
                                      (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)], ids=str)  # fmt: skip
@pytest.mark.parametrize("sampling", [0x111111, 0x211111, 0x221111, 0x411111, 0x121111])
@pytest.mark.parametrize("side", [64, 100])
def test_jpegs_of_every_kind_have_the_same_pixels_as_with_another_decoder(settings, sampling, side):
    """Row 5 of the faults: the decoder was changed, the pixels were not."""
    image = cv2.resize(NOISE, (side, side), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", image, [*settings, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[
        1
    ].tobytes()
    expected = imagecodecs.jpeg8_decode(data, colorspace="ycbcr", outcolorspace="rgb")
    decoder = JpegDecoder(side, side, tables=None, is_rgb=False)
    assert (decoder.decode(data, -1) == expected).all()
    for num_rows in range(1, side, 7):
        assert (decoder.decode(data, num_rows)[:num_rows] == expected[:num_rows]).all()
    for factor, mode in ((2, cv2.IMREAD_REDUCED_COLOR_2), (4, cv2.IMREAD_REDUCED_COLOR_4)):
        reduced = cv2.imdecode(np.frombuffer(data, np.uint8), mode)[:, :, ::-1]
        assert (decoder.decode_reduced(data, factor) == reduced).all()


def test_tiles_of_one_decoder_may_have_different_headers():
    """Row 5 of the faults: the header of the tile before is remembered."""
    decoder = JpegDecoder(64, 64, tables=None, is_rgb=False)
    kinds = [
        bytes(imagecodecs.jpeg8_encode(NOISE, level=level, subsampling=sampling))
        for level, sampling in ((90, "420"), (50, "444"), (90, "422"))
    ]
    for data in (*kinds, *kinds[::-1]):
        expected = imagecodecs.jpeg8_decode(data)
        assert (decoder.decode(data, -1) == expected).all()
    for data in kinds:
        with pytest.raises(TileError):
            decoder.decode(data[: len(data) // 2], -1)


@pytest.mark.parametrize("num_rows", [-1, 64, 63, 40, 8, 1])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-2], "end of JPEG"),
        (lambda data: data[: len(data) // 2] + bytes(len(data) // 2), "end of JPEG"),
        (lambda data: _in_the_middle(data, b"\xff\xc4"), "damaged"),
        (lambda data: _in_the_middle(data, b"\xff\xd0"), "damaged"),
        (lambda data: _in_the_middle(data, b"\xff\xd9"), "damaged"),
        (lambda data: data[:200], "no JPEG|damaged"),
    ],
    ids=["no end", "zeros", "tables", "restart", "end", "header only"],
)
def test_a_jpeg_that_breaks_off_is_damaged_for_whoever_asks_for_its_first_rows(
    num_rows, damage, says
):
    """Row 5 of the faults: whichever rows of the tile are asked for."""
    data = bytes(imagecodecs.jpeg8_encode(NOISE, level=90, subsampling="420"))
    damaged = damage(data)
    sound = jpeg().decode(data, -1).copy()
    if 0 < num_rows <= 8 and damaged.endswith(b"\xff\xd9"):
        # The damage lies behind these rows, and a reader decodes all of them at first.
        with contextlib.suppress(TileError):
            assert (jpeg().decode(damaged, num_rows)[:num_rows] == sound[:num_rows]).all()
    else:
        with pytest.raises(TileError, match=says):
            jpeg().decode(damaged, num_rows)
    with pytest.raises(TileError, match=says):
        jpeg().decode_reduced(damaged, 4)


def _in_the_middle(data: bytes, marker: bytes) -> bytes:
    return data[: len(data) // 2] + marker + data[len(data) // 2 + 2 :]


def test_jpeg_2000_that_does_not_end_where_it_says_is_damaged():
    """Row 5 of the faults: its codec fills in what is missing."""
    data = jpeg2000(NOISE)
    assert (packed(33005).decode(data, -1) == NOISE).all()
    assert (packed(33005).decode(data + bytes(8), -1) == NOISE).all()
    part = data.find(b"\xff\x90")
    assert part > 0
    open_ended = data[: part + 6] + bytes(4) + data[part + 10 :]
    assert (packed(33005).decode(open_ended, -1) == NOISE).all()
    for damaged in (
        data[:-2],
        data[:-2] + b"\0\0",
        _in_the_middle(data, b"\xff\x93"),
        data[: part + 6] + b"\x7f\xff\xff\xff" + data[part + 10 :],
        data[: len(data) // 2] + bytes(5000) + data[len(data) // 2 + 5000 :],
        data[:part],
    ):
        with pytest.raises(TileError, match=r"JPEG 2000 tile is damaged|cannot be decoded"):
            packed(33005).decode(damaged, -1)


def test_a_sampling_of_colours_that_the_decoder_does_not_know_is_left_to_openslide(tmp_path):
    """Row 5 of the faults: the other decoder knew more of them."""
    path = write_slide(tmp_path / "a.svs", smooth_tissue(300, 300), compression="jpeg")
    content = bytearray(path.read_bytes())
    at = content.find(b"\xff\xc0\x00\x11")
    content[at + 11] = 0x42
    path.write_bytes(content)
    with pytest.raises(UnclaimedSlideError, match="sample colours in a way"):
        TiffBackend().open(path)
    assert AutoBackend().open(path).info.reader == "openslide"

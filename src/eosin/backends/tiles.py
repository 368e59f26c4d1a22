"""Tile bytes to RGB, or an error where the bytes are damaged.

A JPEG has no checksum: damage shows where the codes end too early, too late or in nonsense, which
only a decoder that goes to the end can tell. One that was decoded so without complaint need not be
again: a JPEG whose header states fewer rows is decoded no further than those, so a tile of which a
patch needs the upper half costs half. Its last rows would be interpolated towards the cut, so the
cut is made beyond what is needed, and the pixels are the same to the bit.
"""

import math
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, final

import cv2
import imagecodecs
import numpy as np
import simplejpeg
from jaxtyping import UInt8

from eosin.scratch import Scratch

_BLOCK = 8
"""Rows and columns of a JPEG block; a chroma sample may stand for two of each."""

_BASELINE_FRAMES = (0xC0, 0xC1)
_ALL_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_JFIF, _ADOBE, _COMMENT = 0xE0, 0xEE, 0xFE
_TABLES = (0xC4, 0xDB)
"""Of Huffman codes and quantizers: what a TIFF may keep once for all tiles of a level."""

_IS_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
_IS_YCBCR = _IS_RGB[:-1] + b"\x01"
"""Photoshop's marker, which says how colours are stored."""

_UNKNOWN_SAMPLING = "determine subsampling"
_CUT_OFF = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd[0-79]")
"""What libjpeg says first of a sound JPEG whose header states fewer rows than there are."""

_CODESTREAM = b"\xff\x4f\xff\x51"
_MAX_BOXES_BYTES = 65536
"""Of a JPEG 2000 file before its codestream."""
_J2K_TILE_PART, _J2K_DATA, _J2K_END = b"\xff\x90", b"\xff\x93", b"\xff\xd9"
_J2K_MARKER = re.compile(rb"\xff[\x90\x93-\xff]")
"""Two bytes that coded data never hold; what numbers and ends packets is allowed among them."""

_J2K_HOLE, _WEBP_HOLE = bytes(4096), bytes(256)
"""More zeros than coded data have in a row, except where a copy of the file broke off. The codecs
make colours of them. An empty packet of JPEG 2000 is one zero."""


class TileError(Exception):
    """The bytes of a tile cannot be decoded."""


class TileDecoder(ABC):
    """Decodes tiles of one level, which are all of one size."""

    @abstractmethod
    def decode(self, data: bytes, num_rows: int) -> UInt8[np.ndarray, "_rows width 3"]:
        """Return at least the first `num_rows` rows of a tile, and all of them where that is -1.

        The result may be a buffer of the thread, good until its next call.

        Args:
            data: The bytes of the tile.
            num_rows: Fewer than all only for bytes that were decoded whole before: damage shows at
                the end.

        Raises:
            TileError: If the bytes cannot be decoded, or are damaged.
        """

    def decode_reduced(self, data: bytes, factor: int) -> UInt8[np.ndarray, "_height _width 3"]:
        """Return a tile shrunk by 2, 4 or 8 along both sides, for thumbnails.

        Raises:
            TileError: If the bytes cannot be decoded, or are damaged.
        """
        whole = self.decode(data, -1)
        size = (whole.shape[1] // factor, whole.shape[0] // factor)
        return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


class JpegFrame(NamedTuple):
    """What the header of a JPEG says about its pixels."""

    position: int
    """Of the frame header in the data."""
    kind: int
    height: int
    width: int
    num_channels: int
    max_vertical_sampling: int
    adobe_transform: int | None
    """0 for RGB, 1 for YCbCr, where Photoshop's marker says so."""
    jfif_positions: tuple[int, ...]
    """Of markers that say YCbCr, whatever Photoshop's says."""
    end: int
    """Of the frame header in the data."""


def check_picture(data: bytes) -> None:
    """Refuse a JPEG file whose codes are damaged, which other decoders fill with guesses.

    Raises:
        TileError: If it is damaged.
    """
    try:
        # An eighth of the size, since only the codes are of interest.
        simplejpeg.decode_jpeg(data, min_height=1, min_width=1)
    except ValueError as error:
        if _UNKNOWN_SAMPLING not in str(error):
            raise TileError(f"a JPEG is damaged: {error}") from error


def has_unknown_sampling(data: bytes) -> bool:
    """Return whether the colours of a JPEG are sampled in a way that its decoder does not know."""
    try:
        frame = read_frame(data)
        simplejpeg.decode_jpeg(data, min_height=1, min_width=1)
    except TileError:
        return False
    except ValueError as error:
        samplings = data[frame.position + 11 : frame.end : 3]
        # Others are damage.
        are_possible = all(step in range(1, 5) for n in samplings for step in (n >> 4, n & 15))
        return are_possible and _UNKNOWN_SAMPLING in str(error)
    return False


def read_frame(data: bytes) -> JpegFrame:
    """Find the frame header of a JPEG.

    Raises:
        TileError: If there is none.
    """
    adobe: int | None = None
    jfif: list[int] = []
    for kind, position, length in _segments(data):
        if kind in _ALL_FRAMES and position + 2 + length <= len(data) and length >= 8:
            height, width, channels = struct.unpack_from(">HHB", data, position + 5)
            samplings = data[position + 11 : position + 2 + length : 3]
            vertical = max([1, *(sampling & 15 for sampling in samplings)])
            end = position + 2 + length
            return JpegFrame(
                position, kind, height, width, channels, vertical, adobe, tuple(jfif), end
            )
        if kind == _ADOBE and data[position + 4 : position + 9] == b"Adobe" and length >= 14:
            adobe = next(iter(data[position + 15 : position + 16]), None)
        elif kind == _JFIF:
            jfif.append(position)
    raise TileError("a tile is no JPEG")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, position and length of what stands before the codes of a JPEG."""
    position, end = 2, len(data) - 4
    while position < end and data[position] == 0xFF:
        kind = data[position + 1]
        if kind == 0xFF:  # padding
            position += 1
            continue
        if kind in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield kind, position, length
        position += 2 + length


@final
class JpegDecoder(TileDecoder):
    """Decodes JPEG tiles with libjpeg-turbo, which OpenSlide uses as well.

    Any warning of the library is damage, as for OpenSlide.
    """

    def __init__(self, width: int, height: int, *, tables: bytes | None, is_rgb: bool) -> None:
        self._width, self._height = width, height
        self._is_rgb = is_rgb
        self._known: _JpegHead | None = None
        """Of the tile before; most tiles of a level begin with the same bytes."""
        # Nothing else in it holds for tiles: libjpeg forgets it when a tile begins.
        shared = tables or b""
        self._tables = b"".join(
            shared[position : position + 2 + length]
            for kind, position, length in _segments(shared)
            if kind in _TABLES
        )

    def decode(self, data: bytes, num_rows: int) -> UInt8[np.ndarray, "_rows width 3"]:
        head = self._head(data)
        height = self._height
        if 0 <= num_rows < height and head.frame.kind in _BASELINE_FRAMES:
            rows_of_blocks = _BLOCK * head.frame.max_vertical_sampling
            height = min(height, (num_rows // rows_of_blocks + 1) * rows_of_blocks)
        pixels = _BUFFER.reserve(height * self._width * 3).reshape(height, self._width, 3)
        try:
            simplejpeg.decode_jpeg(head.with_codes_of(data, height), buffer=pixels)
        except ValueError as error:
            if height == self._height or not _CUT_OFF.fullmatch(str(error)):
                raise TileError(f"a JPEG tile is damaged: {error}") from error
        is_blended = height < self._height and head.frame.max_vertical_sampling > 1
        return pixels[:-1] if is_blended else pixels

    def decode_reduced(self, data: bytes, factor: int) -> UInt8[np.ndarray, "_height _width 3"]:
        if self._is_rgb or self._width % factor or self._height % factor:
            return TileDecoder.decode_reduced(self, data, factor)
        whole = self._head(data).with_codes_of(data, self._height)
        height, width = self._height // factor, self._width // factor
        try:
            pixels = simplejpeg.decode_jpeg(whole, min_height=height, min_width=width)
        except ValueError as error:
            raise TileError(f"a JPEG tile is damaged: {error}") from error
        return np.asarray(pixels)

    def _head(self, data: bytes) -> "_JpegHead":
        known = self._known
        if known is not None and data.startswith(known.original):
            return known
        # Before decoding: a damaged header could ask for more memory than there is.
        frame = read_frame(data)
        if (frame.width, frame.height, frame.num_channels) != (self._width, self._height, 3):
            raise TileError(
                f"a tile is a JPEG of {frame.width} x {frame.height} px and {frame.num_channels} "
                f"channels instead of {self._width} x {self._height} and 3"
            )
        before = bytearray(data[2 : frame.position])
        if self._is_rgb:
            for position in frame.jfif_positions:  # which go before Photoshop's
                before[position - 1] = _COMMENT
        colours = _IS_RGB if self._is_rgb else _IS_YCBCR
        at = frame.position
        known = self._known = _JpegHead(
            original=data[: frame.end],
            up_to_height=b"".join((data[:2], self._tables, before, colours, data[at : at + 5])),
            after_height=data[at + 7 : frame.end],
            frame=frame,
        )
        return known


class _JpegHead(NamedTuple):
    """What stands before the codes of a tile, and what is given to libjpeg instead.

    That has the tables and colours of the tile's page as well, and the height may be another.
    """

    original: bytes
    up_to_height: bytes
    after_height: bytes
    frame: JpegFrame

    def with_codes_of(self, data: bytes, height: int) -> bytes:
        rest = memoryview(data)[len(self.original) :]
        return b"".join((self.up_to_height, struct.pack(">H", height), self.after_height, rest))


_BUFFER = Scratch()
"""Of a thread and not of a decoder: pools hold hundreds of slides, read by many threads."""


Shape = tuple[int, int, int]

# Each gets the shape it must come to, so that damaged bytes cannot unpack to any size.


def _raw(data: bytes, shape: Shape) -> np.ndarray:
    return _shaped(data[: math.prod(shape)], shape)


def _lzw(data: bytes, shape: Shape) -> np.ndarray:
    # It has no checksum, but damage changes how much comes out: hence room for one byte more.
    return _shaped(imagecodecs.lzw_decode(data, out=math.prod(shape) + 1), shape)


def _deflate(data: bytes, shape: Shape) -> np.ndarray:
    return _shaped(imagecodecs.zlib_decode(data, out=math.prod(shape)), shape)


def _jpeg2000(data: bytes, shape: Shape) -> np.ndarray:
    size = _jpeg2000_size(data)
    if size != shape[:2]:
        raise TileError(f"a tile is JPEG 2000 of {size} rows and columns instead of {shape[:2]}")
    _check_codestream(data)
    return np.asarray(imagecodecs.jpeg2k_decode(data, numthreads=1))


def _webp(data: bytes, shape: Shape) -> np.ndarray:
    if len(data) < 8 + int.from_bytes(data[4:8], "little") or _WEBP_HOLE in data:
        raise TileError("a WebP tile is damaged: it ends too early or has a hole of zeros")
    return np.asarray(imagecodecs.webp_decode(data, out=np.empty(shape, np.uint8)))


def _zstd(data: bytes, shape: Shape) -> np.ndarray:
    return _shaped(imagecodecs.zstd_decode(data, out=math.prod(shape) + 1), shape)


def _lzma(data: bytes, shape: Shape) -> np.ndarray:
    return _shaped(imagecodecs.lzma_decode(data, out=math.prod(shape) + 1), shape)


def _packbits(data: bytes, shape: Shape) -> np.ndarray:
    return _shaped(imagecodecs.packbits_decode(data, out=math.prod(shape) + 1), shape)


def _png(data: bytes, shape: Shape) -> np.ndarray:
    size = struct.unpack_from(">II", data, 16) if len(data) > 24 else (0, 0)
    if size != (shape[1], shape[0]):
        raise TileError(f"a tile is PNG of {size} px instead of {(shape[1], shape[0])}")
    return np.asarray(imagecodecs.png_decode(data))


def _jpegxl(data: bytes, shape: Shape) -> np.ndarray:
    return np.asarray(imagecodecs.jpegxl_decode(data, out=np.empty(shape, np.uint8), numthreads=1))


def _lerc(data: bytes, shape: Shape) -> np.ndarray:
    return np.asarray(imagecodecs.lerc_decode(data, out=np.empty(shape, np.uint8)))


def _shaped(data: bytes | bytearray, shape: Shape) -> np.ndarray:
    num_bytes = math.prod(shape)
    if len(data) != num_bytes:
        more = " or more" if len(data) > num_bytes else ""
        raise TileError(f"a tile has {len(data)} bytes{more} instead of {num_bytes}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_codestream(data: bytes) -> None:
    """Refuse JPEG 2000 whose parts do not end where they say, which its codec fills with guesses.

    Source: ISO/IEC 15444-1, annexes A.4.2 (lengths of tile-parts) and B.10.1 (no marker in them).
    """
    if _J2K_HOLE in data:
        raise TileError("a JPEG 2000 tile is damaged: it has a hole of zeros")
    at = data.find(_CODESTREAM, 0, _MAX_BOXES_BYTES) + 2
    part_end = 0
    while (marker := data[at : at + 2]) != _J2K_END:
        if len(data) < at + 12 or marker[:1] != b"\xff":
            raise TileError("a JPEG 2000 tile is damaged: it does not end where it says")
        if marker == _J2K_DATA:
            if not at < part_end <= len(data) or _J2K_MARKER.search(data, at + 2, part_end):
                raise TileError("a JPEG 2000 tile is damaged: its data end or break off too early")
            at = part_end
            continue
        if marker == _J2K_TILE_PART:
            length = int.from_bytes(data[at + 6 : at + 10])
            # The last one may leave its length open.
            part_end = at + length if length else data.rfind(_J2K_END)
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


def _jpeg2000_size(data: bytes) -> tuple[int, int]:
    at = data.find(_CODESTREAM, 0, _MAX_BOXES_BYTES)
    if at < 0 or len(data) < at + 24:
        raise TileError("a tile is no JPEG 2000")
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    return bottom - top, right - left


def is_subsampled(codestream: bytes) -> bool:
    """Return whether a JPEG 2000 codestream has a channel at less than full resolution."""
    size_marker = codestream.find(b"\xff\x51", 0, 64)
    if size_marker < 0:
        return False
    (num_channels,) = struct.unpack_from(">H", codestream, size_marker + 38)
    samplings = codestream[size_marker + 40 : size_marker + 40 + 3 * num_channels]
    return any(step > 1 for n, step in enumerate(samplings) if n % 3)


UNPACKERS: Mapping[int, tuple[str, Callable[[bytes, Shape], np.ndarray]]] = {
    1: ("none", _raw),
    5: ("lzw", _lzw),
    8: ("deflate", _deflate),
    32946: ("deflate", _deflate),
    33003: ("jpeg2000", _jpeg2000),
    33005: ("jpeg2000", _jpeg2000),
    34712: ("jpeg2000", _jpeg2000),
    32773: ("packbits", _packbits),
    34887: ("lerc", _lerc),
    34925: ("lzma", _lzma),
    34933: ("png", _png),
    50000: ("zstd", _zstd),
    50002: ("jpegxl", _jpegxl),
    52546: ("jpegxl", _jpegxl),
    50001: ("webp", _webp),
}
"""Name of the codec and what undoes it, by the number in the file."""


@final
class PackedDecoder(TileDecoder):
    """Decodes tiles of every other codec, whole."""

    def __init__(
        self, width: int, height: int, *, compression: int, predicts: bool, is_ycbcr: bool
    ) -> None:
        self._width, self._height = width, height
        _, self._unpack = UNPACKERS[compression]
        self._predicts = predicts
        self._is_ycbcr = is_ycbcr

    def decode(self, data: bytes, num_rows: int) -> UInt8[np.ndarray, "_rows width 3"]:
        shape = (self._height, self._width, 3)
        try:
            unpacked = self._unpack(data, shape)
        except TileError:
            raise
        except Exception as error:  # each codec has one of its own
            raise TileError(f"a tile cannot be decoded: {error}") from error
        if unpacked.shape != shape or unpacked.dtype != np.uint8:
            raise TileError(f"a tile is {unpacked.shape} {unpacked.dtype}, which is no RGB tile")
        if self._predicts:
            unpacked = np.cumsum(unpacked, axis=1, dtype=np.uint8)
        return _ycbcr_to_rgb(unpacked) if self._is_ycbcr else np.asarray(unpacked)


_PARTS = 100_000
_CENTRED = np.arange(256) - 128
_RED_OF_CR = (140_200 * _CENTRED + _PARTS // 2) // _PARTS
_BLUE_OF_CB = (177_200 * _CENTRED + _PARTS // 2) // _PARTS
_GREEN_OF_CR = -71_414 * _CENTRED
_GREEN_OF_CB = -34_414 * _CENTRED + _PARTS // 2


def _ycbcr_to_rgb(
    ycbcr: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Convert in whole numbers, rounding to the nearest. Source: JFIF 1.02, section 7."""
    luma, cb, cr = (ycbcr[:, :, channel] for channel in range(3))
    green = (_GREEN_OF_CB[cb] + _GREEN_OF_CR[cr]) // _PARTS
    rgb = np.stack([luma + _RED_OF_CR[cr], luma + green, luma + _BLUE_OF_CB[cb]], axis=-1)
    return np.asarray(np.clip(rgb, 0, 255), dtype=np.uint8)

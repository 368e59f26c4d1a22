"""How an image file becomes RGB: one rule for labelled tiles and for images as slides.

    8 bits a channel, RGB     as stored; a colour profile is not applied
    grey, black and white     three equal channels (as slides they are refused)
    palette                   its colours
    transparent pixels        over white
    orientation tag (EXIF)    not applied, as transformers' image processors do with Pillow images;
                              only a TIFF's own orientation is, by Pillow itself
    more than 8 bits          refused: the file does not say which value is white
    CMYK, Lab, floats         refused
    several pictures          refused (animations, TIFFs of several pages)
    damaged, cut off          refused, as far as checksums and decoders tell

Everything Pillow would open is known by its content, whatever the file is called.
"""

import io
import struct
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from eosin.backends.tiles import TileError, check_picture
from eosin.errors import system_reason

ByteFile = io.BufferedReader | io.BytesIO

_FORMATS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
    b"BM": BmpImageFile,
    b"RIFF": WebPImageFile,
}
"""By the first bytes. Opened directly: `Image.open` would also refuse large images, and try formats
that nobody means."""

_GREY_MODES = frozenset({"1", "L", "LA"})
_COLOUR_MODES = frozenset({"RGB", "RGBA", "P", "PA"})
_BITS_PER_SAMPLE = 258
_ORIENTATION = 0x0112


class ImageFileError(Exception):
    """An image file cannot be used; the text says why, without the file's name."""


class ImageHeader(NamedTuple):
    """What an image file says before its pixels are decoded."""

    width: int
    height: int
    kind: str
    """Such as `png` or `jpeg`."""
    is_grey: bool
    has_profile: bool
    orientation: int
    """EXIF's, which is not applied; 1 is upright."""


def read_header(file: ByteFile, *, max_pixels: int) -> ImageHeader:
    """Return what an image file says about itself; its pixels are not decoded.

    Raises:
        ImageFileError: If it is no image that can be used, or has more than `max_pixels` pixels.
    """
    try:
        return _header(_open(file), file, max_pixels)
    except _UNREADABLE as error:
        raise ImageFileError(f"is no readable image ({system_reason(error)})") from error


def read_pixels(
    file: ByteFile, *, max_pixels: int, background: tuple[int, int, int] = (255, 255, 255)
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the pixels of an image file as RGB.

    Args:
        file: Open for reading, at its beginning.
        max_pixels: More are refused before they are decoded.
        background: RGB of what is transparent.

    Raises:
        ImageFileError: If it is no image that can be used, or is damaged.
    """
    kind = read_header(file, max_pixels=max_pixels).kind
    try:
        if kind == "png":
            _open(file).verify()  # the checksums, which decoding skips
        elif kind == "jpeg":
            file.seek(0)
            check_picture(file.read())
        return _as_rgb(_open(file), background)
    except (*_UNREADABLE, TileError) as error:
        raise ImageFileError(f"is damaged ({system_reason(error)})") from error


_UNREADABLE = (
    OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    MemoryError, struct.error, UserWarning, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises of files that are damaged; warnings where they are made errors."""


def _open(file: ByteFile) -> ImageFile.ImageFile:
    file.seek(0)
    begin = file.read(16)
    file.seek(0)
    for mark, kind in _FORMATS.items():
        if begin.startswith(mark):
            return kind(file)
    raise ImageFileError("is no readable image (neither PNG, JPEG, TIFF, BMP nor WebP)")


def _header(image: ImageFile.ImageFile, file: ByteFile, max_pixels: int) -> ImageHeader:
    kind, mode = (image.format or "image").lower(), image.mode
    width, height = image.size
    if width * height > max_pixels:
        raise ImageFileError(
            f"is {width} x {height} px, and at most {max_pixels:,} pixels are taken; cut or shrink "
            "it"
        )
    bits = 8
    if isinstance(image, PngImageFile):
        # Pillow gives 16 bits as RGB, of which it keeps the upper half.
        position = file.tell()
        file.seek(24)
        bits = file.read(1)[0]
        file.seek(position)
    elif isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    if bits > 8 or mode.startswith("I"):
        raise ImageFileError(
            f"has {max(bits, 16)} bits a channel, of which nothing says which value is white, and "
            "must be RGB in 8 bits; convert it"
        )
    if mode not in _GREY_MODES | _COLOUR_MODES:
        raise ImageFileError(f"has {mode} pixels and must be RGB in 8 bits; convert it")
    num_pictures = getattr(image, "n_frames", 1)
    if num_pictures > 1:
        raise ImageFileError(f"holds {num_pictures} pictures; save the one that is meant")
    return ImageHeader(
        width,
        height,
        kind,
        is_grey=mode in _GREY_MODES,
        has_profile="icc_profile" in image.info,
        orientation=_orientation(image),
    )


def _orientation(image: ImageFile.ImageFile) -> int:
    if isinstance(image, TiffImageFile):
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _UNREADABLE:
        return 1
    return value if value in range(1, 9) else 1


def _as_rgb(
    image: Image.Image, background: tuple[int, int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    rgba = image.convert("RGBA")
    ground = Image.new("RGBA", rgba.size, (*background, 255))
    return np.asarray(Image.alpha_composite(ground, rgba).convert("RGB"))

"""Row 15 of the faults: one rule for image files, wherever they are read."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eosin.backends import ImageBackend
from eosin.backends.image_files import ImageFileError, ImageHeader, read_header, read_pixels
from eosin.errors import SlideOpenError
from made_slides import smooth_tissue

RGB = smooth_tissue(50, 40)
LARGE = 10**6


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return read_pixels(io.BytesIO(content), max_pixels=LARGE)


def header(content: bytes) -> ImageHeader:
    return read_header(io.BytesIO(content), max_pixels=LARGE)


def tiff(image: np.ndarray, **options: object) -> bytes:
    packed = io.BytesIO()
    tifffile.imwrite(packed, image, photometric="rgb" if image.ndim == 3 else None, **options)
    return packed.getvalue()


TWELVE_BITS = RGB.astype(np.uint16) * 16


@pytest.mark.parametrize(
    "content",
    [
        imagecodecs.png_encode(TWELVE_BITS),
        imagecodecs.png_encode(TWELVE_BITS[..., 0].copy()),
        imagecodecs.png_encode(np.dstack([TWELVE_BITS, TWELVE_BITS[..., :1]])),
        tiff(TWELVE_BITS),
        tiff(TWELVE_BITS[..., 0]),
        tiff(RGB[..., 0].astype(np.float32)),
    ],
    ids=["RGB PNG", "grey PNG", "RGBA PNG", "RGB TIFF", "grey TIFF", "float TIFF"],
)
def test_more_than_8_bits_are_refused_since_nothing_says_which_value_is_white(content: bytes):
    """Row 15 of the faults: 12 bits in a 16-bit PNG were read nearly black."""
    for read in (pixels, header):
        with pytest.raises(
            ImageFileError, match=r"has (16|32) bits a channel, .* must be RGB in 8"
        ):
            read(content)


def test_a_slide_of_16_bits_is_refused_when_it_is_opened(tmp_path: Path):
    """Row 15 of the faults: as RGB of 16 bits, which Pillow calls RGB, it was opened."""
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(TWELVE_BITS))
    with pytest.raises(SlideOpenError, match="has 16 bits a channel"):
        ImageBackend().open(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_orientation_tag_is_told_and_not_applied(kind: str):
    """Row 15 of the faults: tiles were turned, which transformers' processors do not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.fromarray(RGB), kind, exif=exif)
    assert header(content).orientation == 6
    seen = pixels(content)
    assert seen.shape == RGB.shape
    np.testing.assert_array_equal(seen, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_ordinary_pictures_have_the_pixels_that_pillow_gives(kind: str):
    content = saved(Image.fromarray(RGB), kind)
    np.testing.assert_array_equal(pixels(content), np.asarray(Image.open(io.BytesIO(content))))
    found = header(content)
    assert (found.width, found.height, found.kind) == (50, 40, kind.lower())
    assert (found.is_grey, found.orientation) == (False, 1)


def test_transparency_of_every_kind_is_over_white():
    """Row 15 of the faults: transparent parts of tiles had whatever colour lay under them."""
    alpha = np.full(RGB.shape[:2], 255, np.uint8)
    alpha[:10] = 0
    rgba = pixels(saved(Image.fromarray(np.dstack([RGB, alpha]))))
    assert (rgba[:10] == 255).all()
    assert (rgba[10:] == RGB[10:]).all()
    grey_alpha = pixels(saved(Image.fromarray(np.dstack([RGB[..., 0], alpha]))))
    assert (grey_alpha[:10] == 255).all()
    one_colour = Image.new("RGB", (8, 8), (9, 9, 9))
    assert (pixels(saved(one_colour, transparency=(9, 9, 9))) == 255).all()
    assert (pixels(saved(one_colour.convert("P"), transparency=b"\0" * 256)) == 255).all()


def test_grey_and_black_and_white_have_three_equal_channels():
    grey = Image.fromarray(RGB).convert("L")
    for image in (grey, grey.convert("1")):
        content = saved(image)
        assert header(content).is_grey
        seen = pixels(content)
        assert (seen == np.asarray(image.convert("L"))[..., None]).all()


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF")])
def test_colours_that_are_not_rgb_are_refused_by_name(mode: str, kind: str):
    image = Image.new(mode, (8, 8))
    with pytest.raises(ImageFileError, match=f"has {mode} pixels and must be RGB in 8 bits"):
        pixels(saved(image, kind))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_files_of_several_pictures_are_refused(kind: str):
    """Row 15 of the faults: the first picture of an animation or a stack was taken."""
    second = Image.fromarray(255 - RGB)
    content = saved(Image.fromarray(RGB), kind, save_all=True, append_images=[second])
    with pytest.raises(ImageFileError, match="holds 2 pictures"):
        pixels(content)


def test_what_is_no_image_or_has_too_many_pixels_is_refused_before_it_is_decoded():
    for content in (b"", b"no image", b"RIFF____WAVE", b"BM", b"II*\0"):
        with pytest.raises(ImageFileError, match="no readable image"):
            header(content)
    with pytest.raises(ImageFileError, match="50 x 40 px, and at most 1,000 pixels"):
        read_pixels(io.BytesIO(saved(Image.fromarray(RGB))), max_pixels=1000)


def test_a_large_picture_is_opened_as_a_slide(tmp_path: Path):
    """Row 31 of the faults: a PNG of 14,500 px a side was a "decompression bomb"."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    shape = struct.pack(">IIBBBBB", 14500, 14500, 8, 2, 0, 0, 0)
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", shape) + chunk(b"IDAT", zlib.compress(b"\0"))
    (tmp_path / "a.png").write_bytes(begin)
    info = ImageBackend().open(tmp_path / "a.png").info
    assert (info.width_l0, info.height_l0) == (14500, 14500)


@given(st.sampled_from(["PNG", "JPEG"]), st.floats(0, 0.97))
def test_a_picture_that_is_cut_off_is_refused(kind: str, share: float):
    content = saved(Image.fromarray(RGB), kind)
    with pytest.raises(ImageFileError):
        pixels(content[: int(share * len(content))])


@given(st.data())
def test_a_png_with_one_changed_byte_is_refused_or_right(data: st.DataObject):
    """Row 15 of the faults, and row 5: decoders skip the checksums of a PNG."""
    content = bytearray(saved(Image.fromarray(RGB)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        seen = pixels(bytes(content))
    except ImageFileError:
        return
    np.testing.assert_array_equal(seen, RGB)

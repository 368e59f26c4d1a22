import numpy as np
import pytest
from PIL import Image

from backends.slide_contract import SlideContract
from eosin.backends import AutoBackend, ImageBackend, MppPolicy
from eosin.errors import SlideOpenError, SlideReadError
from made_slides import smooth_tissue

IMAGE = smooth_tissue(500, 400)


def save(path, pixels, mode="RGB"):
    Image.fromarray(pixels).convert(mode).save(path)
    return path


class TestImage(SlideContract):
    @pytest.fixture
    def slide(self, tmp_path):
        return ImageBackend().open(save(tmp_path / "a.png", IMAGE))


def test_an_image_with_a_given_mpp_is_a_slide_of_one_level(tmp_path):
    path = save(tmp_path / "a.PNG", IMAGE)
    slide = AutoBackend(mpp=MppPolicy(overrides={"a.PNG": 0.5})).open(path)
    assert (slide.info.mpp, slide.info.reader, slide.info.codec) == ((0.5, 0.5), "image", "png")
    assert (slide.read_region(100, 50, 0, 64, 32) == IMAGE[50:82, 100:164]).all()


def test_transparent_pixels_are_background(tmp_path):
    rgba = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 255, np.uint8)])
    rgba[:10, :10, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    region = ImageBackend().open(tmp_path / "a.png").read_region(0, 0, 0, 20, 20)
    assert (region[:10, :10] == 255).all()
    assert (region[10:] == IMAGE[10:20, :20]).all()


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", ".jpg"), ("L", ".png"), ("I;16", ".png")])
def test_images_that_are_not_rgb_are_refused_by_what_they_are(tmp_path, mode, suffix):
    path = save(tmp_path / f"a{suffix}", IMAGE[:, :, 0], mode)
    with pytest.raises(SlideOpenError, match="must be RGB in 8 bits"):
        AutoBackend().open(path)


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_files_that_are_no_images_are_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(SlideOpenError, match="no readable image"):
        ImageBackend().open(tmp_path / "a.png")


def test_other_files_are_not_taken_for_images(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"text")
    with pytest.raises(SlideOpenError, match="is none of"):
        ImageBackend().open(tmp_path / "a.txt")


def test_a_truncated_image_fails_when_it_is_read(tmp_path):
    path = save(tmp_path / "a.png", IMAGE)
    path.write_bytes(path.read_bytes()[:2000])
    slide = ImageBackend().open(path)
    with pytest.raises(SlideReadError, match="cannot be decoded"):
        slide.read_region(0, 0, 0, 10, 10)

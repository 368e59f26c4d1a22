"""What every reader's slide must do; each has a test class that inherits this and gives `slide`."""

import threading

import numpy as np
import pytest

from eosin.backends import Slide
from eosin.errors import SlideReadError


class SlideContract:
    def test_levels_run_from_the_finest_down(self, slide: Slide) -> None:
        info = slide.info
        assert (info.levels[0].width, info.levels[0].height) == (info.width_l0, info.height_l0)
        downsamples = [level.downsample for level in info.levels]
        assert downsamples[0] == 1
        assert downsamples == sorted(downsamples)
        for level in info.levels:
            assert abs(level.width - info.width_l0 / level.downsample) < 1
            assert abs(level.height - info.height_l0 / level.downsample) < 1

    def test_a_region_has_the_size_that_was_asked_for(self, slide: Slide) -> None:
        for level in range(len(slide.info.levels)):
            region = slide.read_region(3, 5, level, 40, 30)
            assert region.shape == (30, 40, 3)
            assert region.dtype == np.uint8

    def test_two_reads_of_a_place_agree(self, slide: Slide) -> None:
        large = slide.read_region(200, 300, 0, 90, 80)
        assert (slide.read_region(217, 311, 0, 50, 40) == large[11:51, 17:67]).all()

    def test_pixels_outside_the_slide_are_background(self, slide: Slide) -> None:
        info = slide.info
        corner = slide.read_region(info.width_l0 - 1, info.height_l0 - 1, 0, 3, 2)
        assert (corner[1] == info.background).all()
        assert (corner[:, 1:] == info.background).all()
        for x, y in ((-50, -50), (info.width_l0 + 3, 0), (0, info.height_l0 + 3)):
            assert (slide.read_region(x, y, 0, 120, 20) == info.background).all()
        assert (slide.read_region(-300, -300, 0, 20, 20) == info.background).all()

    def test_a_thumbnail_shows_the_whole_slide_and_is_not_enlarged(self, slide: Slide) -> None:
        info = slide.info
        longer = max(info.width_l0, info.height_l0)
        for max_px in (17, 100, longer, 10 * longer):
            height, width, _ = slide.thumbnail(max_px).shape
            scale = max(width, height) / longer
            assert max(width, height) <= max_px
            assert scale <= 1
            assert abs(width - info.width_l0 * scale) <= 1
            assert abs(height - info.height_l0 * scale) <= 1

    def test_a_thumbnail_is_as_large_as_it_may_be(self, slide: Slide) -> None:
        assert max(slide.thumbnail(100).shape) == 100

    def test_reading_after_closing_is_an_error(self, slide: Slide) -> None:
        with slide:
            slide.read_region(0, 0, 0, 4, 4)
        for read in (lambda: slide.read_region(0, 0, 0, 4, 4), lambda: slide.thumbnail(50)):
            with pytest.raises(SlideReadError, match="was closed"):
                read()

    def test_threads_read_what_one_reads(self, slide: Slide) -> None:
        places = [(37 * n, 53 * n, n % len(slide.info.levels)) for n in range(12)]
        alone = [slide.read_region(*place, 64, 64) for place in places]
        wrong: list[int] = []

        def read(first: int) -> None:
            for step in range(24):
                at = (first + step) % len(places)
                if not (slide.read_region(*places[at], 64, 64) == alone[at]).all():
                    wrong.append(at)

        threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest

from eosin.errors import ConfigError
from eosin.phantom import CLASSES, PhantomSpec, draw_phantom, read_labels, write_phantom

SPEC = PhantomSpec(seed=5, width_l0=2048, height_l0=1536, pen="green")

DIE_WHILE_WRITING = """
import os, sys
from pathlib import Path
import tifffile
from eosin.phantom import PhantomSpec, write_phantom

class Dying(tifffile.TiffWriter):
    def write(self, *args, **kwargs):
        super().write(*args, **kwargs)
        os.kill(os.getpid(), 9)

tifffile.TiffWriter = Dying
write_phantom(Path(sys.argv[1]), PhantomSpec(seed=5, width_l0=1024, height_l0=1024))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "a.svs"
    write_phantom(path, SPEC)
    return path


def passes_for_tissue(rgb: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    return (hsv[..., 0] >= 90) & (hsv[..., 1] >= 8) & (hsv[..., 2] >= 103)


def test_openslide_takes_it_for_an_aperio_slide_with_its_mpp(path: Path):
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == SPEC.mpp
        assert float(slide.properties["openslide.mpp-y"]) == SPEC.mpp
        assert slide.properties["openslide.objective-power"] == "40"


def test_levels_are_1_4_and_16_times_smaller_to_the_pixel(path: Path):
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == ((2048, 1536), (512, 384), (128, 96))
        assert slide.level_downsamples == (1.0, 4.0, 16.0)
        assert slide.properties["openslide.level[0].tile-width"] == "256"


def test_every_level_shows_what_was_drawn(path: Path):
    drawn, _ = draw_phantom(SPEC)
    with openslide.OpenSlide(path) as slide:
        for level, size in enumerate(slide.level_dimensions):
            read = np.asarray(slide.read_region((0, 0), level, size).convert("RGB"))
            expected = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
            assert np.abs(read.astype(float) - expected).mean() < 6


def test_the_same_spec_gives_the_same_bytes(path: Path, tmp_path: Path):
    write_phantom(tmp_path / "b.svs", SPEC)
    assert (tmp_path / "b.svs").read_bytes() == path.read_bytes()
    again = (tmp_path / "b.labels.png").read_bytes()
    assert again == path.with_name("a.labels.png").read_bytes()


def test_another_seed_gives_another_slide():
    one, two = (draw_phantom(PhantomSpec(seed=s, width_l0=1024, height_l0=1024)) for s in (1, 2))
    assert (one[0] != two[0]).any()
    assert (one[1] != two[1]).any()


def test_tissue_passes_the_hsv_test_and_glass_and_pen_fail_it(path: Path):
    labels = read_labels(path).classes
    plain, plain_labels = draw_phantom(PhantomSpec(seed=5, width_l0=2048, height_l0=1536))
    with openslide.OpenSlide(path) as slide:
        marked = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    to_l0 = {"fx": 32, "fy": 32, "interpolation": cv2.INTER_NEAREST}
    fine = cv2.resize(labels, None, **to_l0)
    passes = passes_for_tissue(marked)
    for name, least in (("gland", 0.6), ("stroma", 0.6), ("lymphoid", 0.6), ("fat", 0.15)):
        assert passes[fine == CLASSES.index(name)].mean() > least, name
    far = cv2.erode((plain_labels == 0).astype(np.uint8), np.ones((11, 11), np.uint8))
    glass = (cv2.resize(far, None, **to_l0) > 0) & (np.abs(plain.astype(int) - marked).max(2) < 40)
    assert passes[glass].mean() < 0.01
    inked = np.abs(plain.astype(int) - marked).max(axis=2) > 90
    assert inked.mean() > 0.01
    assert passes[inked].mean() < 0.02


@pytest.mark.parametrize("pen", ["blue", "black"])
def test_a_pen_of_another_colour_is_that_colour(pen: str):
    spec = {"seed": 5, "width_l0": 1024, "height_l0": 1024}
    plain, _ = draw_phantom(PhantomSpec(**spec))
    marked, labels = draw_phantom(PhantomSpec(**spec, pen=pen))
    ink = marked[np.abs(plain.astype(int) - marked).max(axis=2) > 90].mean(axis=0)
    assert (ink[2] > 1.5 * ink[0]) if pen == "blue" else ink.max() < 80
    assert set(np.unique(labels)) <= set(range(len(CLASSES)))


def test_a_write_that_is_killed_leaves_no_file_at_the_path(tmp_path: Path):
    path = tmp_path / "a.svs"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", DIE_WHILE_WRITING, str(path)]
    died = subprocess.run(command, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert any(tmp_path.glob(".a.*"))  # it was killed while writing, not before
    assert not path.exists()


@pytest.mark.parametrize(
    ("wrong", "names"),
    [({"width_l0": 4100}, "width_l0=4100"), ({"height_l0": 512}, "height_l0=512"),
     ({"mpp": 0.3}, "mpp=0.3"), ({"mpp": 0.0}, "mpp=0.0")],
)  # fmt: skip
def test_a_spec_that_cannot_be_drawn_is_refused_by_name(wrong: dict, names: str):
    with pytest.raises(ConfigError, match=names):
        PhantomSpec(seed=0, **wrong)


def test_another_mpp_draws_the_same_tissue_with_fewer_pixels():
    fine, fine_labels = draw_phantom(PhantomSpec(seed=3, width_l0=2048, height_l0=2048))
    coarse, labels = draw_phantom(PhantomSpec(seed=3, width_l0=1024, height_l0=1024, mpp=0.5))
    assert (labels == fine_labels).all()
    assert coarse.shape == (1024, 1024, 3)
    shrunk = cv2.resize(fine, (32, 32), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(shrunk - cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_AREA)).mean() < 12

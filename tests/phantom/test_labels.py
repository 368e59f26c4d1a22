from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from eosin.errors import InputError
from eosin.phantom import CLASSES, LabelMap, PhantomSpec, read_labels, read_spec, write_phantom
from eosin.phantom.layout import draw_layout

SPEC = PhantomSpec(seed=8, width_l0=1536, height_l0=1024, pen="black")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_phantom(tmp_path / "a.svs", SPEC)
    return tmp_path / "a.svs"


@pytest.fixture
def halves() -> LabelMap:
    """Two columns of gland, two of stroma."""
    classes = np.array([[1, 1, 2, 2]] * 4, np.uint8)
    return LabelMap(classes=classes, px_l0=32, um=8.0)


def test_the_label_map_covers_the_slide_and_has_all_classes(path: Path):
    label_map = read_labels(path)
    assert (label_map.px_l0, label_map.um) == (32, 8.0)
    assert label_map.classes.shape == (1024 // 32, 1536 // 32)
    assert set(np.unique(label_map.classes)) == set(range(len(CLASSES)))


@pytest.mark.parametrize("seed", range(8))
def test_every_layout_has_all_classes_in_contiguous_regions_and_glass_all_around(seed: int):
    layout = draw_layout(np.random.default_rng(seed), (128, 128))
    share = np.bincount(layout.labels.ravel(), minlength=len(CLASSES)) / layout.labels.size
    assert 0.45 < 1 - share[0] < 0.75
    assert (share[1:] > 0.06).all()
    edge = np.concatenate([layout.labels[[0, -1]].ravel(), layout.labels[:, [0, -1]].ravel()])
    assert (edge == 0).all()
    for index in range(len(layout.region_class)):
        whole = (layout.region == index).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(whole)
        assert stats[1:, cv2.CC_STAT_AREA].max() > 0.7 * whole.sum()


def test_the_spec_travels_inside_the_slide(path: Path):
    assert read_spec(path) == SPEC


def test_a_window_has_the_class_that_covers_enough_of_it(halves: LabelMap):
    assert halves.class_of_window(0, 0, 64) == 1
    assert halves.class_of_window(64, 64, 64) == 2
    assert halves.class_of_window(32, 0, 64) is None
    assert halves.class_of_window(32, 0, 64, min_share=0.5) == 1
    assert halves.class_of_window(0, 0, 96, min_share=0.6) == 1
    assert halves.class_of_window(0, 0, 96, min_share=0.7) is None


def test_a_window_smaller_than_a_label_pixel_has_the_class_it_lies_in(halves: LabelMap):
    assert halves.class_of_window(33, 5, 4) == 1
    assert halves.class_of_window(95, 127, 1) == 2


def test_what_lies_outside_the_slide_is_background(halves: LabelMap):
    assert halves.class_of_window(1000, 1000, 64) == 0
    assert halves.class_of_window(96, 0, 128, min_share=0.7) == 0
    assert halves.class_of_window(-32, 0, 64, min_share=0.6) is None


def test_a_slide_that_is_no_phantom_is_refused(tmp_path: Path):
    tifffile.imwrite(tmp_path / "other.svs", np.zeros((16, 16), np.uint8), description="hello")
    (tmp_path / "text.svs").write_text("no TIFF")
    for name in ("other.svs", "text.svs", "missing.svs"):
        with pytest.raises(InputError, match=name):
            read_labels(tmp_path / name)


def test_a_label_map_that_is_missing_damaged_or_of_another_size_is_refused(path: Path):
    labels = path.with_name("a.labels.png")
    cv2.imwrite(str(labels), np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match="does not fit"):
        read_labels(path)
    labels.write_bytes(b"no PNG")
    with pytest.raises(InputError, match="does not fit"):
        read_labels(path)
    labels.unlink()
    with pytest.raises(InputError, match="missing"):
        read_labels(path)

import numpy as np
import pytest

from catalog.tables import entry
from eosin.catalog import SlideWeights
from eosin.errors import ConfigError
from eosin.plain import from_plain, to_plain

SLIDES = [
    entry("0", organ="lung", patient="p0", tissue_mm2=100.0, wish=1.0),
    entry("1", organ="lung", patient="p0", tissue_mm2=400.0, wish=1.0),
    entry("2", organ="lung", patient="p1", tissue_mm2=100.0, wish=1.0),
    entry("3", organ="skin", patient="p2", tissue_mm2=100.0, wish=3.0),
    entry("4", organ="skin", patient="p2", tissue_mm2=0.0, wish=0.0),
]


def shares(**settings):
    return SlideWeights(**settings).weights(SLIDES).tolist()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1 / 5] * 5),
        ({"by": ("slide",)}, [1 / 5] * 5),
        ({"by": ("patient",)}, [1 / 6, 1 / 6, 1 / 3, 1 / 6, 1 / 6]),
        ({"by": ("organ",)}, [1 / 6, 1 / 6, 1 / 6, 1 / 4, 1 / 4]),
        ({"by": ("organ", "patient")}, [1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 4]),
        ({"tissue_area_power": 1.0}, [1 / 7, 4 / 7, 1 / 7, 1 / 7, 0]),
        ({"tissue_area_power": 0.5}, [1 / 5, 2 / 5, 1 / 5, 1 / 5, 0]),
        ({"tissue_area_power": -1.0}, [4 / 13, 1 / 13, 4 / 13, 4 / 13, 0]),
        ({"by": ("patient",), "tissue_area_power": 1.0}, [1 / 15, 4 / 15, 1 / 3, 1 / 3, 0]),
        ({"column": "wish"}, [1 / 6, 1 / 6, 1 / 6, 1 / 2, 0]),
        ({"by": ("organ",), "column": "wish"}, [2 / 15, 2 / 15, 2 / 15, 3 / 5, 0]),
    ],
)
def test_groups_are_drawn_alike_and_slides_of_a_group_by_their_area(settings, expected):
    assert shares(**settings) == pytest.approx(expected)


def test_a_group_without_tissue_leaves_its_share_to_the_others():
    slides = [*SLIDES[:4], entry("5", organ="bone", tissue_mm2=0.0)]
    weights = SlideWeights(by=("organ",), tissue_area_power=1.0).weights(slides)
    assert weights.tolist() == pytest.approx([1 / 12, 1 / 3, 1 / 12, 1 / 2, 0])


def test_weights_are_one_per_slide_and_add_up_to_one():
    slides = [entry(str(n), patient=f"p{n % 7}") for n in range(500)]
    weights = SlideWeights(by=("patient",)).weights(slides)
    assert weights.shape == (500,)
    assert weights.sum() == pytest.approx(1)
    assert np.bincount(np.arange(500) % 7, weights) == pytest.approx([1 / 7] * 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": ("Patient",)}, "no column 'Patient'.*did you mean 'patient'"),
        ({"column": "site"}, "no column 'site'"),
        ({"column": "organ"}, "column 'organ' holds 'lung'; a weight is a number"),
    ],
)
def test_columns_that_cannot_be_used_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        shares(**settings)


def test_a_slide_without_a_value_is_refused_by_path():
    slides = [*SLIDES, entry("lonely.svs", patient=None)]
    with pytest.raises(ConfigError, match=r"lonely\.svs: has no value in 'patient'.*is not missi"):
        SlideWeights(by=("patient",)).weights(slides)


def test_tissue_area_needs_an_index():
    with pytest.raises(ConfigError, match="'tissue_mm2', which is made by `eosin scan`"):
        SlideWeights(tissue_area_power=1.0).weights([entry("a")])


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan"), True])
def test_what_is_no_weight_is_refused(weight):
    with pytest.raises(ConfigError, match="a weight is a number from 0 up"):
        SlideWeights(column="wish").weights([entry("a", wish=weight)])


def test_weights_of_nothing_but_zeros_are_refused():
    with pytest.raises(ConfigError, match="no slide has a weight above zero"):
        SlideWeights(column="wish").weights([entry("a", wish=0.0)])


@pytest.mark.parametrize(
    "setting", [{"by": ("organ", "organ")}, {"tissue_area_power": float("nan")}]
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        SlideWeights(**setting)


def test_weights_are_a_component_that_can_be_stored():
    weights = SlideWeights(by=("organ",), column="wish", tissue_area_power=0.5)
    assert from_plain(to_plain(weights)) == weights

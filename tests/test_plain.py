import json
from pathlib import Path

import numpy as np
import pytest

from eosin.errors import ConfigError, InputError
from eosin.filters import HSVPatchFilter
from eosin.geometry import Mpp
from eosin.plain import differences, fingerprint, from_plain, to_plain
from eosin.sampling import MultiMagnificationSampler
from eosin.transforms import ComposeTransforms, HEDColorAugmentation, RandomFlipRotate


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (Path("a/b"), "a/b"),
        ((1, "x", None, True), [1, "x", None, True]),
        ({"a": (1,)}, {"a": [1]}),
        (frozenset({"b", "a"}), ["a", "b"]),
        (Mpp(0.25, 0.5), [0.25, 0.5]),
    ],
)
def test_values_become_what_json_can_hold(value, plain):
    assert to_plain(value) == plain
    assert json.loads(json.dumps(to_plain(value))) == plain


def test_a_component_is_told_by_its_class_and_fields():
    assert to_plain(RandomFlipRotate(p_hflip=0.0)) == {
        "type": "eosin.transforms.flip.RandomFlipRotate",
        "p_hflip": 0.0,
        "p_vflip": 0.5,
        "p_rot90": 0.5,
    }


@pytest.mark.parametrize(
    "component",
    [
        MultiMagnificationSampler(target_mpps=[0.5, 1.0]),
        ComposeTransforms(transforms=[RandomFlipRotate(), HEDColorAugmentation(sigma=0.2)]),
    ],
)
def test_components_come_back_from_json(component):
    assert from_plain(json.loads(json.dumps(to_plain(component)))) == component


@pytest.mark.parametrize(
    ("stored", "what"),
    [
        ({"type": "eosin.filters.hsv.Missing"}, "Missing', which is no component"),
        ({"type": "nowhere.Filter"}, "nowhere.Filter', which is no component"),
        ({"type": "eosin.filters.hsv.HSVPatchFilter", "hues": 3}, "HSVPatchFilter does not take"),
        ({"type": "subprocess.Popen", "args": "true"}, "Popen', which is no component"),
    ],
)
def test_stored_settings_that_cannot_be_built_are_refused(stored, what):
    with pytest.raises(InputError, match=what):
        from_plain(stored)


def test_what_cannot_be_compared_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"of type function cannot be written"):
        to_plain({"filter": lambda image: True})


def test_the_fingerprint_changes_with_any_setting_and_not_with_the_object():
    def settings(sigma=0.05):
        return [HSVPatchFilter(), ComposeTransforms(transforms=[HEDColorAugmentation(sigma=sigma)])]

    assert fingerprint(settings()) == fingerprint(settings())
    assert fingerprint(settings()) != fingerprint(settings(sigma=0.2))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert len(fingerprint(settings())) == 16


def test_differences_are_named_by_their_dotted_path():
    old = {"data": {"views": [{"count": 2}, {"count": 8}]}, "same": 3}
    new = {"data": {"views": [{"count": 2}, {"count": 6}]}, "same": 3, "more": "x"}
    assert list(differences(old, new)) == [
        "data.views.1.count: was 8, now 6",
        "more: was None, now 'x'",
    ]


def test_lists_of_other_lengths_differ_as_a_whole():
    assert list(differences([1, 2], [1], "views")) == ["views: was [1, 2], now [1]"]

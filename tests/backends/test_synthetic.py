import numpy as np
import pytest

from backends.slide_contract import SlideContract
from eosin.backends import SyntheticBackend
from eosin.backends.synthetic import decode_coordinates, encode_coordinates
from eosin.errors import SlideOpenError, SlideReadError


class TestSyntheticSlide(SlideContract):
    @pytest.fixture
    def slide(self):
        return SyntheticBackend(downsamples=(1.0, 4.0, 16.5)).open("made://slide")


def test_colours_hold_coordinates():
    x, y = np.meshgrid(np.arange(0, 4096, 7), np.arange(0, 4096, 501))
    back = decode_coordinates(encode_coordinates(x, y))
    assert (back[0] == x).all()
    assert (back[1] == y).all()


def test_slides_fail_where_they_were_made_to():
    backend = SyntheticBackend(failing=frozenset({"a"}), unreadable=frozenset({"b"}))
    with pytest.raises(SlideOpenError, match="a: was made to fail"):
        backend.open("a")
    with pytest.raises(SlideReadError, match="b: was made to fail"):
        backend.open("b").read_region(0, 0, 0, 4, 4)
    assert backend.open("c").read_region(0, 0, 0, 4, 4).shape == (4, 4, 3)


def test_two_slides_of_one_backend_have_different_fingerprints():
    backend = SyntheticBackend()
    assert backend.open("a/1").info.fingerprint == backend.open("b/1").info.fingerprint
    assert backend.open("a/1").info.fingerprint != backend.open("a/2").info.fingerprint

"""The adapter on a small stand-in for the library: made by hand, of the interface of 2.0.8."""

import sys
import threading
from types import ModuleType

import numpy as np
import pytest

from eosin.errors import ConfigError, MissingDependencyError
from eosin.plain import from_plain, to_plain
from eosin.transforms import albumentations
from eosin.transforms.albumentations import AlbumentationsTransform
from transforms.transform_contract import TransformContract, noise


class Shift:
    """Add a random number to every pixel, in place, as careless transforms do."""

    def __init__(self, limit: int, cut: int = 0) -> None:
        self.limit = limit
        self.cut = cut

    def set_random_state(self, generator: np.random.Generator, py_random: object) -> None:
        self.generator = generator

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        image += np.uint8(self.generator.integers(self.limit))
        return {"image": image[self.cut :, self.cut :]}


def stand_in(version: str = "2.0.8") -> ModuleType:
    def from_dict(written: dict) -> Shift:
        return Shift(written["transform"]["limit"], written["transform"]["cut"])

    library = ModuleType("albumentations")
    library.__version__ = version
    library.to_dict = lambda shift: {"__version__": version, "transform": vars(shift)}
    library.from_dict = from_dict
    return library


@pytest.fixture(autouse=True)
def library(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", stand_in())
    albumentations._built.cache_clear()


class TestAdapter(TransformContract):
    @pytest.fixture
    def transform(self):
        return AlbumentationsTransform.of(Shift(200))


def test_the_settings_are_plain_and_come_back():
    transform = AlbumentationsTransform.of(Shift(9), size=8)
    assert from_plain(to_plain(transform)) == transform
    assert AlbumentationsTransform.of(Shift(8), size=8) != transform


def test_every_thread_has_a_transform_of_its_own():
    transform = AlbumentationsTransform.of(Shift(200))
    built = []

    def use() -> None:
        transform.replay(noise(), {"seed": 1})
        built.append(albumentations._built(transform.settings, threading.get_ident()))

    for _ in range(2):
        use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert built[0] is built[1]
    assert built[0] is not built[2]


def test_a_change_of_size_must_be_promised():
    cutting = Shift(9, cut=10)
    with pytest.raises(ConfigError, match="gave 30 x 30 px where 40 x 40 were promised"):
        AlbumentationsTransform.of(cutting)(noise())
    transform = AlbumentationsTransform.of(cutting, size=30)
    assert transform(noise()).shape == (30, 30, 3)
    assert transform.size_after({"seed": 1}, width=40, height=40) == (30, 30)


def test_another_version_of_the_library_is_refused(monkeypatch):
    transform = AlbumentationsTransform.of(Shift(9))
    monkeypatch.setitem(sys.modules, "albumentations", stand_in("2.1.0"))
    with pytest.raises(ConfigError, match=r"of albumentations 2\.0\.8, and 2\.1\.0 is installed"):
        transform(noise())


def test_a_version_without_generators_from_outside_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", stand_in("1.4.0"))
    with pytest.raises(MissingDependencyError, match=r"2 or newer, and 1\.4\.0"):
        AlbumentationsTransform.of(Shift(9))


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(MissingDependencyError, match="pip install 'albumentations>=2'"):
        AlbumentationsTransform.of(Shift(9))


@pytest.mark.parametrize("settings", ["nonsense", "[]", "{}"])
def test_settings_of_something_else_are_refused(settings):
    with pytest.raises(ConfigError, match=r"AlbumentationsTransform\.of"):
        AlbumentationsTransform(settings=settings)

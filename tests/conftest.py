"""What all tests share: hypothesis that looks at the same examples each time, and small slides."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from eosin.phantom import write_phantoms

settings.register_profile("eosin", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("eosin")


def pytest_configure() -> None:
    # A shell lets what it runs in the background ignore Ctrl-C, and with it what tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three phantom slides with labels, 1 mm wide; not to be changed."""
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantoms(folder, num_slides=3, seed=7, side_l0=4096)

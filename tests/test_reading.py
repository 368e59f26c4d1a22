"""Named pipes, devices and sockets: nothing that a user names is waited for without end."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

from eosin.backends import (
    AutoBackend,
    ImageBackend,
    OpenSlideBackend,
    SyntheticBackend,
    TiffBackend,
)
from eosin.backends.files import file_fingerprint, find_slides
from eosin.catalog import list_slides
from eosin.errors import EosinError, SlideError, SlideOpenError
from eosin.evaluate.labelled import LabelledTiles
from eosin.models.weights import read_weights
from eosin.reading import check_regular, read_regular
from eosin.tissue import MaskFolder
from eosin.train.run_folder import RunFolder
from made_slides import smooth_tissue, write_slide
from scan.scanning import plan_of, scan


@pytest.fixture(autouse=True)
def nothing_hangs():
    """End what waits for a writer that never comes."""

    def end(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("suffix", [".svs", ".tif", ".ndpi", ".mrxs", ".dcm", ".png", ".jpg"])
def test_a_named_pipe_is_no_slide_whatever_reads_it(tmp_path, suffix):
    """Row 21 of the faults: a FIFO given by path was opened and waited for."""
    path = pipe(tmp_path / f"a{suffix}")
    is_image = suffix in (".png", ".jpg")
    direct = ImageBackend() if is_image else TiffBackend()
    for backend in (AutoBackend(), direct, *(() if is_image else (OpenSlideBackend(),))):
        with pytest.raises(SlideOpenError, match="is a named pipe; only regular files are read"):
            backend.open(path)


def test_a_device_and_a_socket_are_no_slides(tmp_path, monkeypatch):
    (tmp_path / "zero.svs").symlink_to("/dev/zero")
    with pytest.raises(SlideOpenError, match="is a device"):
        AutoBackend().open(tmp_path / "zero.svs")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket is short
        server.bind("s.svs")
        with pytest.raises(SlideOpenError, match="is a socket"):
            AutoBackend().open("s.svs")


def test_a_scan_goes_on_without_a_pipe(tmp_path):
    """Row 21 of the faults: one FIFO held up a scan for ever, and Ctrl-C did not end it."""
    write_slide(tmp_path / "good.svs", smooth_tissue(700, 600))
    rows = scan(
        tmp_path, str(pipe(tmp_path / "pipe.svs")), str(tmp_path / "good.svs"),
        plan=plan_of(AutoBackend()),
    )  # fmt: skip
    assert rows["good.svs"].problem is None
    assert "named pipe" in rows["pipe.svs"].problem


def test_a_folder_with_pipes_gives_its_slides_and_names_the_pipes(tmp_path, caplog):
    good = write_slide(tmp_path / "good.svs", smooth_tissue(300, 300))
    pipe(tmp_path / "pipe.svs")
    pipe(tmp_path / "series.dcm")
    assert find_slides(tmp_path) == [str(good)]
    assert "pipe.svs (a named pipe; only regular files are read)" in caplog.text


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: list_slides(pipe(folder / "t.csv")),
        lambda folder: list_slides(pipe(folder / "t.parquet")),
        lambda folder: MaskFolder(folder=pipe(folder / "s.png").parent).tissue(
            SyntheticBackend().open("made://s.svs")
        ),
        lambda folder: MaskFolder(folder=pipe(folder / "s.geojson").parent).content_key(
            SyntheticBackend().open("made://s.svs")
        ),
        lambda folder: read_weights(pipe(folder / "w.pth")),
        lambda folder: read_weights(pipe(folder / "w.safetensors")),
        lambda folder: LabelledTiles(
            paths=(pipe(folder / "a.png"),),
            labels=np.zeros(1, np.int64),
            class_names=("a",),
            groups=("a",),
        ).read(0),
    ],
    ids=["csv", "parquet", "mask", "geojson", "torch", "safetensors", "tile"],
)
def test_a_pipe_in_place_of_any_input_is_refused(tmp_path, use):
    with pytest.raises(EosinError, match="named pipe") as caught:
        use(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pipe_in_place_of_the_settings_of_a_run_is_refused(tmp_path):
    pipe(tmp_path / "config.json")
    with pytest.raises(EosinError, match="named pipe"):
        _ = RunFolder(tmp_path).config


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
def test_a_name_that_no_file_can_have_is_an_error_of_the_system(name):
    for use in (check_regular, read_regular, file_fingerprint):
        with pytest.raises(OSError, match=r"no file has such a name|File name too long"):
            use(name)
    with pytest.raises(SlideError):
        AutoBackend().open(name)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)

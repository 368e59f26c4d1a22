"""Files and folders appear whole or not at all, and replace nothing that is somebody's."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eosin.atomic import (
    atomic_file,
    atomic_folder,
    check_file,
    check_folder,
    foreign_file,
    remove_leftovers,
    remove_own_files,
    write_atomic,
)
from eosin.errors import ConfigError, EosinError, WriteError


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def yes(_: Path) -> bool:
    return True


def no(_: Path) -> bool:
    return False


def test_a_file_is_not_there_until_the_block_ends(tmp_path):
    with atomic_file(tmp_path / "a.txt") as aside:
        aside.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert left_in(tmp_path) == ["a.txt"]


def test_the_old_file_stays_whole_when_the_block_fails(tmp_path):
    write_atomic(tmp_path / "a.txt", "old")
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.txt") as aside:
        aside.write_text("half of the n" + (tmp_path / "the rest").read_text())
    assert (tmp_path / "a.txt").read_text() == "old"
    assert left_in(tmp_path) == ["a.txt"]


def test_the_suffix_stays_last_for_writers_that_look_at_it(tmp_path):
    with atomic_file(tmp_path / "thumb.png") as aside:
        assert aside.suffix == ".png"
        aside.touch()


def test_folders_that_do_not_exist_are_made(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\x00\xff"


def test_text_is_written_as_utf_8(tmp_path):
    write_atomic(tmp_path / "a.txt", "0.25 µm")
    assert (tmp_path / "a.txt").read_bytes() == "0.25 µm".encode()


def test_a_folder_that_is_ours_is_replaced_whole(tmp_path):
    (tmp_path / "model" / "old").mkdir(parents=True)
    with atomic_folder(tmp_path / "model", is_ours=yes) as aside:
        (aside / "deep").mkdir(parents=True)
        (aside / "deep" / "weights").write_text("new")
    assert left_in(tmp_path / "model") == ["deep"]
    assert (tmp_path / "model" / "deep" / "weights").read_text() == "new"
    assert left_in(tmp_path) == ["model"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "model").mkdir()
    with atomic_folder(tmp_path / "model", is_ours=no) as aside:
        (aside / "weights").touch()
    assert left_in(tmp_path / "model") == ["weights"]


def test_the_old_folder_stays_when_the_block_fails(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    with (
        pytest.raises(FileNotFoundError),
        atomic_folder(tmp_path / "model", is_ours=yes) as aside,
    ):
        (aside / "weights").write_text((tmp_path / "the rest").read_text())
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert left_in(tmp_path) == ["model"]


def test_a_file_never_takes_the_place_of_a_folder(tmp_path):
    """Row 1 of the faults: `-o FOLDER` deleted the folder, and one file stood in its place."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("years")
    with pytest.raises(ConfigError, match="is a folder, which a file does not replace"):
        write_atomic(tmp_path / "thesis", "page")

    def write_where_a_folder_appears() -> None:
        with atomic_file(tmp_path / "new") as aside:
            aside.write_text("page")
            (tmp_path / "new").mkdir()

    with pytest.raises(ConfigError, match="is a folder"):
        write_where_a_folder_appears()
    assert (tmp_path / "thesis" / "a.tex").read_text() == "years"
    assert left_in(tmp_path) == ["new", "thesis"]


def test_a_folder_takes_the_place_of_one_that_is_ours_only(tmp_path):
    """Row 1 of the faults: any folder at the place of another was deleted."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("years")
    (tmp_path / "file").write_text("years")
    for name in ("model", "file"):
        with pytest.raises(ConfigError), atomic_folder(tmp_path / name, is_ours=no):
            raise AssertionError("refused before anything is made")
    assert (tmp_path / "model" / "mine").read_text() == "years"
    assert (tmp_path / "file").read_text() == "years"
    assert left_in(tmp_path) == ["file", "model"]


def test_what_is_put_into_a_folder_of_ours_while_it_is_made_again_comes_back(tmp_path):
    """Row 1 of the faults: another member, what somebody adds between the check and the rename."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").touch()

    def has_only_weights(folder: Path) -> bool:
        return left_in(folder) == ["weights"]

    def make_again() -> None:
        with atomic_folder(model, is_ours=has_only_weights) as aside:
            (aside / "weights").touch()
            (model / "notes").write_text("years")

    with pytest.raises(ConfigError, match="holds something"):
        make_again()
    assert (model / "notes").read_text() == "years"
    assert left_in(tmp_path) == ["model"]


def test_a_file_that_is_not_ours_stays_and_is_named(tmp_path):
    path = tmp_path / "notes.html"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.html is there and is not .* that eosin wrote"):
        write_atomic(path, "page", is_ours=no)
    path.chmod(0o400)
    with pytest.raises(ConfigError, match="is write-protected"):
        write_atomic(path, "page", is_ours=yes)
    assert path.read_text() == "mine"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    """Row 1 of the faults: another member, a link of the user's became a file."""
    (tmp_path / "real").mkdir()
    (tmp_path / "page.html").symlink_to(tmp_path / "real" / "page.html")
    for content in ("one", "two"):
        write_atomic(tmp_path / "page.html", content)
    (tmp_path / "model").symlink_to(tmp_path / "real", target_is_directory=True)
    with atomic_folder(tmp_path / "model", is_ours=yes) as aside:
        (aside / "weights").touch()
    assert (tmp_path / "page.html").is_symlink()
    assert (tmp_path / "model").is_symlink()
    assert left_in(tmp_path / "real") == ["weights"]


def test_a_pipe_or_a_device_is_not_replaced(tmp_path):
    """Row 1 of the faults: another member, root's `-o /dev/null` replaced the device by a file."""
    os.mkfifo(tmp_path / "pipe")
    for check in (lambda path: write_atomic(path, ""), lambda path: check_file(path, "a page")):
        with pytest.raises(ConfigError, match="is a device or a pipe"):
            check(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a device or a pipe"):
        check_file(Path("/dev/null"), "a page", is_ours=yes)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("length", [200, 240, 255])
@pytest.mark.parametrize("suffix", ["", ".h5", ".parquet", "." + "x" * 150])
def test_any_name_that_a_disk_allows_can_be_written(tmp_path, length, suffix):
    """Row 18 of the faults: the name aside of a long name did not fit on the disk."""
    name = "é" * ((length - len(suffix)) // 2)
    name += "a" * (length - len(suffix) - 2 * (len(name))) + suffix
    assert len(os.fsencode(name)) == length
    write_atomic(tmp_path / name, "new")
    with atomic_folder(tmp_path / "deep" / name, is_ours=no):
        pass
    assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / "deep" / name).is_dir()


def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path):
    """Row 18 of the faults: another member, an output of the user's."""
    for check in (check_file, check_folder):
        with pytest.raises(WriteError, match="File name too long; give a shorter name"):
            check(tmp_path / ("n" * 256), "a page")
    assert left_in(tmp_path) == []


def test_two_long_names_that_begin_alike_are_written_at_once(tmp_path):
    first, second = (tmp_path / ("n" * 200 + end) for end in "ab")
    with atomic_file(first) as one, atomic_file(second) as other:
        one.write_text("1")
        other.write_text("2")
    assert (first.read_text(), second.read_text()) == ("1", "2")


def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    check_file(tmp_path / "a" / "b" / "page.html", "a page", is_ours=no)
    check_folder(tmp_path / "c" / "features", "features")
    check_folder(tmp_path, "features")
    check_folder(tmp_path / "model", "an export", is_ours=no)
    assert left_in(tmp_path) == []


def test_a_place_below_a_file_or_of_another_kind_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "a" / "b"):
        for check in (check_file, check_folder):
            with pytest.raises(ConfigError, match=rf"{tmp_path / 'file'} is a file, so .* cannot"):
                check(path, "a page")
    with pytest.raises(ConfigError, match="is a file, and features is a folder"):
        check_folder(tmp_path / "file", "features")
    with pytest.raises(ConfigError, match="is a folder, and a page is a file"):
        check_file(tmp_path, "a page")


def test_what_is_read_is_no_place_to_write(tmp_path):
    (tmp_path / "index").touch()
    (tmp_path / "link").symlink_to("index")
    with pytest.raises(ConfigError, match="is read by this command"):
        check_file(tmp_path / "link", "an index", inputs=["s3://a/b", tmp_path / "index"])
    with pytest.raises(ConfigError, match="is read by this command"):
        check_folder(tmp_path, "an export", is_ours=yes, inputs=[str(tmp_path)])


def test_a_folder_that_the_system_does_not_let_write_is_refused(tmp_path, monkeypatch):
    def forbid(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "aside")

    monkeypatch.setattr(os, "open", forbid)
    with pytest.raises(WriteError, match="cannot be written: Permission denied; check who may"):
        check_file(tmp_path / "deep" / "page.html", "a page")
    assert left_in(tmp_path) == []


def test_files_of_others_are_told_from_those_that_eosin_makes(tmp_path):
    own = re.compile(r"samples_\d+|deep/\w+\.png")
    for name in ("samples_1", "deep/a.png", "deep/.a.1c2d3e4f.12-34.writing.png", "b/c/notes"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "samples_2").symlink_to("samples_1")
    assert foreign_file(tmp_path, own) in {tmp_path / "samples_2", tmp_path / "b" / "c" / "notes"}
    remove_own_files(tmp_path, own)
    assert left_in(tmp_path) == ["b", "samples_2"]
    assert (tmp_path / "b" / "c" / "notes").exists()


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from eosin.atomic import atomic_file
with atomic_file(Path(sys.argv[1])) as aside:
    aside.write_text("half of the n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_file_and_what_can_be_removed(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False)
    assert path.read_text() == "old"
    assert len(left_in(tmp_path)) == 2
    remove_leftovers(tmp_path, of="b")
    assert len(left_in(tmp_path)) == 2
    remove_leftovers(tmp_path, of="[a-z]")
    assert left_in(tmp_path) == ["a.txt"]


def test_hidden_files_of_others_that_look_alike_are_no_leftovers(tmp_path):
    """Row 1 of the faults: another member, whatever was called `.*.writing*` was removed."""
    others = (".thesis.writing", ".a.writing.txt", ".writing", ".a.12-x.writing", "a.1-2.writing")
    ours = (".a.1c2d3e4f.12-34.writing.txt", ".a.12-34.writing.txt", ".step_00000100.writing")
    for name in (*others, *ours):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, of=r"[a-z]+|step_\d+")
    assert left_in(tmp_path) == sorted(others)


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))


WRITERS = """
import sys
from pathlib import Path
import numpy as np
from eosin.atomic import atomic_file, write_atomic
from eosin.errors import WriteError

def hdf5(path):
    import h5py
    with atomic_file(path) as aside, h5py.File(aside, "w") as file:
        file["a"] = np.ones(1 << 20)

def safetensors(path):
    import torch
    from eosin.models.tensor_file import write_tensors
    with atomic_file(path) as aside:
        write_tensors(aside, {"a": torch.ones(1 << 20)}, {"format": "pt"})

def parquet(path):
    import pyarrow as pa
    from pyarrow import parquet
    with atomic_file(path) as aside:
        parquet.write_table(pa.table({"a": np.random.default_rng(0).random(1 << 20)}), aside)

def json(path):
    write_atomic(path, "1" * (1 << 20))

def numpy(path):
    with atomic_file(path) as aside, aside.open("wb") as file:
        np.savez(file, a=np.ones(1 << 20))

def tiff(path):
    import tifffile
    with atomic_file(path) as aside:
        tifffile.imwrite(aside, np.ones((1 << 10, 1 << 10)))

for write in (hdf5, safetensors, parquet, json, numpy, tiff):
    try:
        write(Path(sys.argv[1]) / write.__name__)
    except WriteError as error:
        print(error)
"""


def test_a_disk_that_takes_no_more_is_one_line_from_every_library(tmp_path):
    """Row 22 of the faults: what HDF5 and safetensors say on a full disk was shown raw."""
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, tmp_path],
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    names = ("hdf5", "safetensors", "parquet", "json", "numpy", "tiff")
    expected = "File too large"
    for name, line in zip(names, lines, strict=True):
        # NumPy, which writes a TIFF's pixels, keeps the reason to itself.
        reason = "No space left on device" if name == "tiff" else expected
        assert line.startswith(f"{tmp_path / name} cannot be written: {reason}; ")
    assert left_in(tmp_path) == []
    assert done.stderr == ""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("Can't decrement id ref count (errno = 28, error message = 'No space left')"),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_known_in_the_words_of_every_library(tmp_path, error):
    """Row 22 of the faults: another member, whichever way a library says it."""
    says = rf"^{tmp_path / 'a'} cannot be written: No space left on device; free some space"
    with pytest.raises(WriteError, match=says), atomic_file(tmp_path / "a"):
        raise error


def test_errors_that_are_not_of_the_disk_are_left_as_they_are(tmp_path):
    for error in (ValueError("36 tiles"), FileNotFoundError(errno.ENOENT, "no"), EosinError("x")):
        with pytest.raises(type(error)) as raised, atomic_file(tmp_path / "a"):
            raise error
        assert raised.value is error

import subprocess
import sys

import pytest

from eosin.atomic import atomic_path, remove_leftovers, write_atomic


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_not_there_until_the_block_ends(tmp_path):
    with atomic_path(tmp_path / "a.txt") as aside:
        aside.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert left_in(tmp_path) == ["a.txt"]


def test_the_old_file_stays_whole_when_the_block_fails(tmp_path):
    write_atomic(tmp_path / "a.txt", "old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt") as aside:
        aside.write_text("half of the n" + (tmp_path / "the rest").read_text())
    assert (tmp_path / "a.txt").read_text() == "old"
    assert left_in(tmp_path) == ["a.txt"]


def test_the_suffix_stays_last_for_writers_that_look_at_it(tmp_path):
    with atomic_path(tmp_path / "thumb.png") as aside:
        assert aside.suffix == ".png"
        aside.touch()


def test_folders_that_do_not_exist_are_made(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\x00\xff"


def test_text_is_written_as_utf_8(tmp_path):
    write_atomic(tmp_path / "a.txt", "0.25 µm")
    assert (tmp_path / "a.txt").read_bytes() == "0.25 µm".encode()


def test_a_folder_replaces_a_folder_whole(tmp_path):
    (tmp_path / "model" / "old").mkdir(parents=True)
    with atomic_path(tmp_path / "model") as aside:
        (aside / "deep").mkdir(parents=True)
        (aside / "deep" / "weights").write_text("new")
    assert left_in(tmp_path / "model") == ["deep"]
    assert (tmp_path / "model" / "deep" / "weights").read_text() == "new"


def test_the_old_folder_stays_when_the_block_makes_nothing(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "model"):
        pass
    assert (tmp_path / "model" / "weights").read_text() == "old"


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from eosin.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as aside:
    aside.write_text("half of the n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_file_and_what_can_be_removed(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False)
    assert path.read_text() == "old"
    assert len(left_in(tmp_path)) == 2
    remove_leftovers(tmp_path)
    assert left_in(tmp_path) == ["a.txt"]

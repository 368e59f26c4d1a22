"""A slide that takes a process down is known to the next, and one that was killed is no witness."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eosin.backends import SyntheticBackend
from eosin.backends.crash import CrashLog
from eosin.backends.guarded import GuardedBackend, guarded
from eosin.errors import InputError, SlideOpenError

CHILD = """
import os, signal, sys, threading
from pathlib import Path
from eosin.backends.crash import CrashLog

log = CrashLog(Path(sys.argv[1]))
waiting, ready = threading.Event(), threading.Event()

def read_something_else():
    with log.reading("innocent.svs"):
        ready.set()
        waiting.wait()

threading.Thread(target=read_something_else, daemon=True).start()
ready.wait()
with log.reading("earlier.svs"):
    pass
with log.reading(sys.argv[2]):
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))
"""


def die(folder: Path, slide: str | bytes, by: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, folder, slide, by], check=False, capture_output=True
    )
    assert done.returncode == -getattr(signal, by)


@pytest.mark.parametrize("fault", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_slide_that_a_process_died_of_is_found_among_those_being_read(tmp_path, fault):
    log = CrashLog(tmp_path / "crashes")
    die(log.folder, "bad.svs", fault)
    assert log.reason("bad.svs") is None, "nobody has looked yet"
    assert log.take_stock() == ["bad.svs"]
    assert log.take_stock() == []
    reason = log.reason("bad.svs")
    assert reason is not None
    assert "a process died reading it" in reason
    assert str(log.folder / "crashes.jsonl") in reason
    assert log.reason("innocent.svs") is None


@pytest.mark.parametrize("from_outside", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_process_that_was_killed_accuses_no_slide(tmp_path, from_outside):
    log = CrashLog(tmp_path)
    die(tmp_path, "good.svs", from_outside)
    assert log.take_stock() == []
    assert log.reason("good.svs") is None
    assert list(tmp_path.glob("*.reading")) == []


def test_a_slide_is_known_by_its_content_wherever_it_goes(tmp_path):
    log = CrashLog(tmp_path / "crashes")
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"pixels that crash")
    die(log.folder, str(bad), "SIGSEGV")
    log.take_stock()
    moved = bad.rename(tmp_path / "moved.svs")
    assert log.reason(str(moved)) is not None
    other = tmp_path / "other.svs"
    other.write_bytes(b"other pixels")
    assert log.reason(str(other)) is None


def test_a_process_that_lives_is_left_alone(tmp_path):
    log = CrashLog(tmp_path)
    with log.reading("a.svs"):
        assert log.take_stock() == []
        assert list(tmp_path.glob("*.reading")) != []


def test_a_forked_child_has_notes_of_its_own(tmp_path):
    log = CrashLog(tmp_path)
    with log.reading("parents.svs"):
        child = os.fork()
        if child == 0:
            with log.reading("childs.svs"):
                os.kill(os.getpid(), signal.SIGSEGV)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGSEGV
        assert log.take_stock() == ["childs.svs"]


def test_a_guarded_reader_gives_what_the_reader_gives(tmp_path):
    plain = SyntheticBackend()
    slide = guarded(plain, CrashLog(tmp_path)).open("a")
    assert slide.info == plain.open("a").info
    region = (100, 200, 1, 30, 20)
    assert (slide.read_region(*region) == plain.open("a").read_region(*region)).all()
    assert (slide.thumbnail(50) == plain.open("a").thumbnail(50)).all()
    assert guarded(plain, None) is plain


def test_a_guarded_reader_does_not_open_what_a_process_died_of(tmp_path):
    log = CrashLog(tmp_path)
    die(tmp_path, "bad.svs", "SIGSEGV")
    log.take_stock()
    backend = GuardedBackend(backend=SyntheticBackend(), log=log)
    with pytest.raises(SlideOpenError, match="a process died reading it"):
        backend.open("bad.svs")
    backend.open("good.svs")


def test_a_folder_that_cannot_be_made_is_an_error_of_its_own(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        GuardedBackend(backend=SyntheticBackend(), log=CrashLog(tmp_path / "file")).open("a")


UNREADING = """
import ctypes, sys, threading
from pathlib import Path
from eosin.backends.crash import CrashLog

ready = threading.Event()

def read():
    with CrashLog(Path(sys.argv[1])).reading("innocent.svs"):
        ready.set()
        threading.Event().wait()

threading.Thread(target=read, daemon=True).start()
ready.wait()
ctypes.string_at(0)
"""


def test_a_thread_that_reads_nothing_accuses_no_slide_when_it_dies(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", UNREADING, tmp_path], check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in next(tmp_path.glob("*.fault")).read_text()
    assert CrashLog(tmp_path).take_stock() == []


def test_a_path_of_any_bytes_and_length_is_remembered_as_it_is(tmp_path):
    long = "/".join(["ö" * 120] * 16) + "/" + os.fsdecode(b"pr\xe4parat.svs")
    log = CrashLog(tmp_path)
    die(tmp_path, os.fsencode(long), "SIGSEGV")
    assert log.take_stock() == [long]
    assert log.reason(long) is not None


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    log = CrashLog(tmp_path)
    die(tmp_path, "bad.svs", "SIGSEGV")
    log.take_stock()
    crashes = tmp_path / "crashes.jsonl"
    line = crashes.read_text()
    crashes.write_text(line + line[:30] + line + "7\n{}\n")
    assert log.reason("bad.svs") is not None
    assert log.reason("good.svs") is None


def test_a_process_knows_its_own_notes_under_any_name_of_their_folder(tmp_path):
    log = CrashLog(tmp_path / "crashes")
    with log.reading("a.svs"):
        assert CrashLog(tmp_path / "crashes" / ".." / "crashes").take_stock() == []
        assert list(log.folder.glob("*.reading")) != []


def test_a_disk_without_locks_keeps_notes_and_believes_a_fault_alone(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    log = CrashLog(tmp_path)
    die(tmp_path, "bad.svs", "SIGABRT")
    die(tmp_path, "fine.svs", "SIGKILL")
    monkeypatch.setattr("fcntl.lockf", refuse)
    with log.reading("a.svs"):
        assert log.take_stock() == ["bad.svs"]
    # That one was killed cannot be told from that it lives, so that its notes stay.
    assert len(list(tmp_path.glob("*.reading"))) == 2


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file cannot be written"),
        CrashLog(tmp_path / "file").reading("a.svs"),
    ):
        pass

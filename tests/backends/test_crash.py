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


def test_notes_have_their_space_before_anything_is_written_into_them(tmp_path):
    """Row 22 of the faults: on a full disk, memory shared with a sparse file ended in SIGBUS."""
    with CrashLog(tmp_path).reading("a.svs"):
        (notes,) = tmp_path.glob("*.reading")
        seen = notes.stat()
    assert seen.st_blocks * 512 >= seen.st_size > 0


def test_a_disk_that_cannot_reserve_space_has_it_written(tmp_path, monkeypatch):
    """Row 22 of the faults: another member, file systems without `fallocate`."""

    def lack(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", lack)
    with CrashLog(tmp_path).reading("a.svs"):
        (notes,) = tmp_path.glob("*.reading")
        seen = notes.stat()
    assert seen.st_blocks * 512 >= seen.st_size > 0


FULL = """
import os, sys
from pathlib import Path
from eosin.backends.crash import CrashLog
from eosin.errors import InputError

folder, call, failing = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
actual = Path.open if call == "open" else os.posix_fallocate

def full(first, *rest, **named):
    if call != "open" or first.suffix == failing:
        raise OSError(28, os.strerror(28))
    return actual(first, *rest, **named)

setattr(Path if call == "open" else os, call, full)
try:
    CrashLog(folder).reading("a.svs").__enter__()
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("call", "failing"), [("open", ".reading"), ("open", ".fault"), ("posix_fallocate", "")]
)
@pytest.mark.parametrize("is_there", [True, False])
def test_notes_that_cannot_be_made_leave_nothing(tmp_path, call, failing, is_there):
    """Row 34 of the faults: full inodes left `*.reading` in the folder of notes, and the folder."""
    folder = tmp_path / "deep" / "crashes"
    (folder if is_there else folder.parent).mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", FULL, folder, call, failing],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{folder} cannot be written (No space left on device)" in done.stdout
    assert done.stdout.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"] + ["crashes"] * is_there


def test_machines_of_a_domain_have_notes_for_each_process(tmp_path, monkeypatch):
    """Row 34 of the faults: another member, names with dots lost all that stood after the first."""
    named = os.uname()
    fields = [named.sysname, "node1.cluster.local", named.release, named.version, named.machine]
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(fields))
    with CrashLog(tmp_path).reading("a.svs"):
        names = sorted(path.name for path in tmp_path.iterdir())
    assert [Path(name).suffix for name in names] == [".fault", ".reading"]
    assert all(name.startswith(f"node1.cluster.local-{os.getpid()}-") for name in names)


def test_files_of_others_in_the_folder_of_notes_stay(tmp_path):
    """Row 1 of the faults: another member, any `*.reading` was taken for notes and removed."""
    for name in ("shelf.reading", "host-12-ab.reading", "host-12-ab.fault", "a.fault"):
        (tmp_path / name).write_text("mine")
    die(tmp_path, "bad.svs", "SIGABRT")
    assert CrashLog(tmp_path).take_stock() == ["bad.svs"]
    (tmp_path / "crashes.jsonl").unlink()
    assert len([path for path in tmp_path.iterdir() if path.read_text() == "mine"]) == 4


def test_an_empty_folder_that_was_there_stays_and_one_made_for_notes_goes(tmp_path):
    """Row 1 of the faults: another member, an empty folder of somebody was removed."""
    script = (
        "import sys; from pathlib import Path; from eosin.backends.crash import CrashLog\n"
        "with CrashLog(Path(sys.argv[1])).reading('a.svs'): pass"
    )
    (tmp_path / "theirs").mkdir()
    for name in ("theirs", "ours"):
        subprocess.run([sys.executable, "-c", script, tmp_path / name], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]

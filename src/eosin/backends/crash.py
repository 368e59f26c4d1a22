"""Crashes of codecs: which slide a process read when it died, so that the next leaves it out.

Each reading thread notes its slide in memory shared with a file, which survives the process. Only a
process that died of a fault of its own counts, which Python's fault handler writes down; one that
was killed from outside has done no wrong, and neither have its slides.
"""

import atexit
import contextlib
import errno
import faulthandler
import fcntl
import mmap
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, final

from eosin.atomic import explained
from eosin.backends.files import file_fingerprint
from eosin.errors import InputError, system_reason
from eosin.plain import from_json, to_json

LACKS_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""Errors of a file system without locks, such as Lustre without `-o flock` or NFS without a lock
daemon."""
_NUM_SLOTS = 256
_SLOT_BYTES = 8192
"""Room for the longest path that there can be."""
_HEAD_BYTES = 10
_NOTES_BYTES = _NUM_SLOTS * _SLOT_BYTES
_NOTES_NAME = re.compile(r".+-\d+-[0-9a-f]+\.reading")
_LACKS_RESERVATION = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_KEYS = {"slide", "fingerprint", "fault"}
_FATAL = re.compile(r"Fatal Python error: ([^\n]*)")
_CURRENT_THREAD = re.compile(r"Current thread 0x([0-9a-f]+)")


@final
@dataclass(frozen=True, slots=True)
class CrashLog:
    """A folder in which processes note what they read. Give each run one of its own."""

    folder: Path

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Note that this thread reads a slide until the block ends.

        Raises:
            InputError: If the folder cannot be written.
        """
        slots = _slots_of_this_process(self.folder)
        slots.fill(path)
        try:
            yield
        finally:
            slots.fill("")

    def reason(self, path: str) -> str | None:
        """Return why a slide must not be read again, or None; found by its content."""
        crashes = self._crashes()
        if not crashes:
            return None
        fault = crashes.get(path) or crashes.get(_content(path))
        if fault is None:
            return None
        return (
            f"a process died reading it ({fault}); to try it again, delete "
            f"{self.folder / 'crashes.jsonl'}"
        )

    def take_stock(self) -> list[str]:
        """Find what processes were reading when they died of a fault; return those slides.

        They are remembered from now on. Call it when a worker has died, and before a run goes on.
        """
        found = []
        # By name: the same folder may have been named in other ways.
        own = {slots.notes.name for slots in list(_SLOTS.values()) if slots.pid == os.getpid()}
        had_notes = False
        for notes in sorted(self.folder.glob("*.reading")):
            if not _is_notes(notes):
                continue
            had_notes = True
            # Looking at its own would give up this process's lock on them.
            if notes.name in own:
                continue
            fault, paths = _autopsy(notes)
            for path in paths:
                self._remember(path, fault)
                found.append(path)
        if had_notes:
            # Made for notes that are gone now; what else is in it keeps it.
            with contextlib.suppress(OSError):
                self.folder.rmdir()
        return found

    def _remember(self, path: str, fault: str) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "slide": path,
            "fingerprint": _content(path),
            "fault": fault,
        }
        log = self.folder / "crashes.jsonl"
        with explained(log), log.open("a") as file:
            file.write(to_json(line) + "\n")

    def _crashes(self) -> dict[str, str]:
        """Return faults by path and by content."""
        try:
            lines = (self.folder / "crashes.jsonl").read_text().splitlines()
        except OSError:
            return {}
        known = [crash for crash in map(_parsed, lines) if crash is not None]
        by_path = {str(crash["slide"]): str(crash["fault"]) for crash in known}
        return by_path | {str(c["fingerprint"]): str(c["fault"]) for c in known if c["fingerprint"]}


@final
class _Slots:
    """What the threads of this process read: a file in memory, one slot each."""

    def __init__(self, folder: Path) -> None:
        self.pid = os.getpid()
        # Not by `with_suffix`: the name of a machine may hold a dot.
        name = f"{os.uname().nodename}-{self.pid}-{id(self):x}"
        self.notes, self.fault = (folder / f"{name}.{kind}" for kind in ("reading", "fault"))
        try:
            # A folder that was there without notes is somebody's, and stays at the end.
            self._is_folder_ours = not folder.is_dir() or any(map(_is_notes, folder.iterdir()))
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as opened:
                opened.callback(self._remove_folder)
                self._file = opened.enter_context(self.notes.open("x+b"))
                opened.callback(self._remove_files)
                self._trace: IO[bytes] = opened.enter_context(self.fault.open("wb"))
                _reserve(self._file, _NOTES_BYTES)
                # Held while this process lives, and by no child of it.
                _lock_if_possible(self._file, fcntl.LOCK_EX)
                opened.pop_all()
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written ({system_reason(error)}), in which is noted what is "
                "read; give a place that can be, or free some space"
            ) from error
        self._memory = mmap.mmap(self._file.fileno(), _NOTES_BYTES)
        self._of_thread: dict[int, int] = {}
        self._lock = threading.Lock()
        # Others, such as torch in its workers, may have put handlers over those it has by now.
        faulthandler.disable()
        faulthandler.enable(self._trace, all_threads=True)
        atexit.register(self._leave)

    def _leave(self) -> None:
        """Take the notes away at an orderly end; forked children have inherited this call."""
        if self.pid == os.getpid():
            faulthandler.disable()
            self._memory.close()
            self._file.close()
            self._trace.close()
            self._remove_files()
            self._remove_folder()

    def _remove_files(self) -> None:
        for file in (self.notes, self.fault):
            file.unlink(missing_ok=True)

    def _remove_folder(self) -> None:
        if self._is_folder_ours:
            with contextlib.suppress(OSError):
                self.notes.parent.rmdir()

    def fill(self, path: str) -> None:
        thread = threading.get_ident()
        slot = self._of_thread.get(thread)
        if slot is None:
            with self._lock:
                slot = self._of_thread[thread] = len(self._of_thread) % _NUM_SLOTS
        text = os.fsencode(path)[: _SLOT_BYTES - _HEAD_BYTES]
        content = thread.to_bytes(8, "little") + len(text).to_bytes(2, "little") + text
        begin = slot * _SLOT_BYTES
        self._memory[begin : begin + len(content)] = content


_SLOTS: dict[Path, _Slots] = {}
_SLOTS_LOCK = threading.Lock()


def _slots_of_this_process(folder: Path) -> _Slots:
    slots = _SLOTS.get(folder)
    if slots is None or slots.pid != os.getpid():
        with _SLOTS_LOCK:
            slots = _SLOTS.get(folder)
            if slots is None or slots.pid != os.getpid():
                slots = _SLOTS[folder] = _Slots(folder)
    return slots


def _renew_lock() -> None:
    global _SLOTS_LOCK  # noqa: PLW0603 - a thread may have held it when the process was forked
    _SLOTS_LOCK = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _is_notes(path: Path) -> bool:
    """Return whether a process of eosin has made a file."""
    try:
        is_whole = path.is_file() and path.stat().st_size == _NOTES_BYTES
    except OSError:
        return False
    return is_whole and not path.is_symlink() and _NOTES_NAME.fullmatch(path.name) is not None


def _reserve(file: IO[bytes], num_bytes: int) -> None:
    """Give a file its size and the space for it.

    Memory that is shared with a file without space takes the process down (SIGBUS) when it is
    written to on a full disk.

    Raises:
        OSError: If there is not as much space.
    """
    try:
        os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError as error:
        if error.errno not in _LACKS_RESERVATION:
            raise
        file.write(bytes(num_bytes))
        file.flush()


def _autopsy(notes: Path) -> tuple[str, list[str]]:
    """Return what a process died of and which slides it was reading; nothing while it lives."""
    trace = notes.with_name(notes.name.removesuffix("reading") + "fault")
    try:
        with notes.open("r+b") as file:
            is_dead = _lock_if_possible(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            slots = file.read()
            told = trace.read_text(errors="replace") if trace.exists() else ""
            if not is_dead and not _FATAL.search(told):
                # Without locks only a fault says that it lives no more.
                return "", []
            notes.unlink()
            trace.unlink(missing_ok=True)
    except OSError:  # locked by a process that lives, or looked at by another, or another user's
        return "", []
    fatal = _FATAL.search(told)
    if fatal is None:
        return "", []
    reading = dict(_entries(slots))
    current = _CURRENT_THREAD.search(told)
    if current is None:
        # A codec's own thread is none of Python's: all that was being read is under suspicion.
        return fatal.group(1), list(reading.values())
    # One that reads no slide, such as one that trains, died of something else.
    path = reading.get(int(current.group(1), 16))
    return fatal.group(1), [] if path is None else [path]


def _lock_if_possible(file: IO[bytes], how: int) -> bool:
    """Lock a file; return False where its file system has no locks.

    Raises:
        OSError: If another process has locked it.
    """
    try:
        fcntl.lockf(file, how)
    except OSError as error:
        if error.errno not in LACKS_LOCKS:
            raise
        return False
    return True


def _entries(slots: bytes) -> Iterator[tuple[int, str]]:
    for begin in range(0, len(slots), _SLOT_BYTES):
        length = int.from_bytes(slots[begin + 8 : begin + _HEAD_BYTES], "little")
        if length:
            text = slots[begin + _HEAD_BYTES : begin + _HEAD_BYTES + length]
            yield int.from_bytes(slots[begin : begin + 8], "little"), os.fsdecode(text)


def _parsed(line: str) -> dict[str, str] | None:
    """Return a line, or None for one that was cut off when the power failed or the disk was full.

    The next process goes on in the same line, which is then lost as well.
    """
    try:
        crash = from_json(line)
    except ValueError:
        return None
    return crash if isinstance(crash, dict) and crash.keys() >= _KEYS else None


def _content(path: str) -> str:
    try:
        return file_fingerprint(path)
    except (OSError, ValueError, ImportError):  # gone by now, or a URL that nothing reads
        return ""

"""Progress for people: a bar on a terminal, a plain line now and then elsewhere, all on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from eosin.names import shown

_PLAIN_EVERY_S = 10.0


@final
class Bar:
    """One bar that is moved on by its owner."""

    def __init__(self, progress: Progress | None, title: str, total: int) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task(title, total=total, note="")
        self._title, self._total = title, total
        self._done = 0
        self._next_line_s = time.monotonic()
        self._last_line: tuple[int, float] | None = None
        """How many were done when, at the plain line before."""

    def advance(self, number: int = 1, note: str = "") -> None:
        """Say that so many more are done, with a few words about them."""
        self.move_to(self._done + number, note)

    def move_to(self, done: int, note: str = "") -> None:
        """Say how many are done in all; the note may be a file name of any kind."""
        self._done = done
        note = shown(note)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, note=note)
            return
        now_s = time.monotonic()
        if now_s >= self._next_line_s or done == self._total:
            self._next_line_s = now_s + _PLAIN_EVERY_S
            words = [f"{self._title}: {done}/{self._total}", self._left(done, now_s), note]
            sys.stderr.write(" ".join(word for word in words if word) + "\n")
            sys.stderr.flush()
            self._last_line = (done, now_s)

    def _left(self, done: int, now_s: float) -> str:
        """Return how long the rest will take, at the pace since the last line."""
        if self._last_line is None or done in (self._last_line[0], self._total):
            return ""
        before, before_s = self._last_line
        return f"({in_words((self._total - done) * (now_s - before_s) / (done - before))} left)"


def in_words(seconds: float) -> str:
    """Return a duration in the two largest units that matter."""
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes} min"
    days = hours // 24
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60:02} min"


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Bar]:
    """Show a bar while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Bar(None, title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, title, total)

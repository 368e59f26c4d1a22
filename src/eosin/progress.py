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

    def advance(self, number: int = 1, note: str = "") -> None:
        """Say that so many more are done, with a few words about them."""
        self.move_to(self._done + number, note)

    def move_to(self, done: int, note: str = "") -> None:
        """Say how many are done in all."""
        self._done = done
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, note=note)
            return
        now_s = time.monotonic()
        if now_s >= self._next_line_s or done == self._total:
            self._next_line_s = now_s + _PLAIN_EVERY_S
            line = f"{self._title}: {done}/{self._total} {note}".rstrip()
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


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
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, title, total)

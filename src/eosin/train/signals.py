"""Signals that ask a run to stop: it ends its step and saves, where a signal would end it at once.

They are only noted down: an error raised out of a handler would leave locks and files half way.
Slurm sends SIGTERM, or what `--signal` names, before it takes a node away; Ctrl-C is SIGINT.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import final

_Handler = Callable[[int, FrameType | None], object] | int | None

ASKS_TO_STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@final
class StopRequest:
    """While the block lasts, signals are noted down and the process lives on.

    A second SIGINT interrupts at once, for whoever does not want to wait. Python lets only the main
    thread have handlers; in another thread the block changes nothing.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._before: dict[signal.Signals, _Handler] = {}

    @property
    def requested(self) -> bool:
        """Whether the run shall stop after this step."""
        return self._received is not None

    def listen(self) -> None:
        """Begin to note signals down, where that shall be later than what is closed at the end."""
        if threading.current_thread() is threading.main_thread():
            for number in ASKS_TO_STOP:
                self._before[number] = signal.signal(number, self._note)

    def __enter__(self) -> "StopRequest":
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that was not set by Python, and cannot be set by it.
            if handler is not None:
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._received is signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signal.Signals(number)

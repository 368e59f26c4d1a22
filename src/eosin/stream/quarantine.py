"""What cannot be read, at three grains: one region, a level of a slide, or a whole slide.

Written down as it is found, one line of JSON each. It saves the time of failing again, and changes
no sample: where something is skipped, reading it would have failed.
"""

import os
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, final

from eosin.errors import InputError
from eosin.plain import to_json

Grain = Literal["region", "level", "slide"]

_MAX_LINES_PER_SLIDE = 100
"""A slide that fails everywhere is told by then; counting goes on."""


@final
class QuarantineLog:
    """Counts what was put into quarantine, and appends a line for each to a file.

    Lines are appended whole, so several processes may write to one file.
    """

    def __init__(self, path: Path | None = None, counts: Counter[Grain] | None = None) -> None:
        """Take the file to append to, and where to count beside it; either may be left out."""
        self.path = path
        self._counts: Counter[Grain] = Counter() if counts is None else counts
        self._num_lines: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(
        self,
        grain: Grain,
        *,
        slide_path: str,
        fingerprint: str | None,
        cause: str,
        reason: str,
        where: dict[str, int] | None = None,
    ) -> None:
        """Count something that cannot be read, and write it down.

        Args:
            grain: How much of the slide it is.
            slide_path: Which slide.
            fingerprint: Of its content, where it is known.
            cause: In a word or two, as in a sample's rejections.
            reason: What exactly went wrong.
            where: The level, and the place in level-0 pixels.

        Raises:
            InputError: If the file cannot be written.
        """
        with self._lock:
            self._counts[grain] += 1
            self._num_lines[slide_path] += 1
            is_told = self._num_lines[slide_path] > _MAX_LINES_PER_SLIDE and grain == "region"
        if self.path is None or is_told:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "slide": slide_path,
            "fingerprint": fingerprint,
            "grain": grain,
            "cause": cause,
            "reason": reason,
            **(where or {}),
        }
        _append(self.path, to_json(line) + "\n")


def _append(path: Path, line: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); give quarantine_log another place"
        ) from error

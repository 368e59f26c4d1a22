"""What every reader gives: a backend opens a path, a slide gives its pixels."""

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from eosin.geometry import SlideInfo


class Slide(ABC):
    """An open slide. Reading is safe from several threads at once."""

    @property
    @abstractmethod
    def info(self) -> SlideInfo:
        """What is known without reading pixels."""

    @abstractmethod
    def read_region(
        self, x: int, y: int, level: int, width: int, height: int
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Return RGB pixels of a level; outside the slide and where unscanned, its background.

        Args:
            x: Left edge in level-0 pixels.
            y: Top edge in level-0 pixels.
            level: Level to read.
            width: Pixels of that level.
            height: Pixels of that level.

        Raises:
            SlideReadError: If the pixels cannot be decoded.
        """

    @abstractmethod
    def thumbnail(self, max_px: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return the whole slide with its longer side at most `max_px`, never enlarged.

        Raises:
            SlideReadError: If the pixels cannot be decoded.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back the file; reading afterwards is an error."""

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class SlideBackend(ABC):
    """A way to open slides; holds settings and no file."""

    @abstractmethod
    def open(self, path: Path | str) -> Slide:
        """Open a slide.

        Raises:
            SlideOpenError: If the file is not there or is no slide that this reader knows.
        """

"""Reads what a phantom slide says about itself: its spec, and the label map beside it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from jaxtyping import Int, UInt8

from eosin.errors import InputError, system_reason
from eosin.phantom.spec import CLASSES, LABEL_UM, PhantomSpec, describe


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """The class of every part of a phantom slide."""

    classes: UInt8[np.ndarray, "rows cols"]
    """Indices into CLASSES; 0 is glass, and pen."""
    px_l0: int
    """Side of a label pixel in level-0 pixels."""
    um: float
    """Side of a label pixel in microns."""

    def class_of_window(
        self, x_l0: int, y_l0: int, size_l0: int, *, min_share: float = 0.8
    ) -> int | None:
        """Return the class that covers at least `min_share` of a square window, or None.

        The window counts in whole label pixels, those whose centre lies in it. What lies outside
        the slide is background.
        """
        rows, cols = self._covered(y_l0, size_l0), self._covered(x_l0, size_l0)
        rows_in = rows[(rows >= 0) & (rows < self.classes.shape[0])]
        cols_in = cols[(cols >= 0) & (cols < self.classes.shape[1])]
        counts = np.bincount(self.classes[np.ix_(rows_in, cols_in)].ravel(), minlength=len(CLASSES))
        counts[0] += len(rows) * len(cols) - counts.sum()
        best = int(counts.argmax())
        return best if counts[best] >= min_share * counts.sum() else None

    def _covered(self, start_l0: int, size_l0: int) -> Int[np.ndarray, "pixels"]:
        first, last = (
            math.ceil(edge_l0 / self.px_l0 - 0.5) for edge_l0 in (start_l0, start_l0 + size_l0)
        )
        # A window between two centres still lies in some pixel.
        return np.arange(first, last) if last > first else np.array([start_l0 // self.px_l0])


def labels_path(slide_path: Path) -> Path:
    """Return where the label map of a slide lies."""
    return slide_path.with_name(f"{slide_path.stem}.labels.png")


def read_spec(slide_path: Path) -> PhantomSpec:
    """Return the spec that a phantom slide was drawn from.

    Raises:
        InputError: If the file is no phantom slide of this version.
    """
    text = read_description(slide_path)
    try:
        spec = PhantomSpec(**json.loads(text.rpartition("|Phantom spec = ")[2]))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{slide_path} is no phantom slide; draw one with write_phantom"
        ) from error
    if text != describe(spec):
        raise InputError(f"{slide_path} was drawn by another version; delete it and draw it again")
    return spec


def read_labels(slide_path: Path) -> LabelMap:
    """Return the label map of a phantom slide.

    Raises:
        InputError: If the slide is no phantom, or the label map is missing or does not fit it.
    """
    spec = read_spec(slide_path)
    path = labels_path(slide_path)
    classes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    shape = spec.height_l0 // spec.label_px_l0, spec.width_l0 // spec.label_px_l0
    if classes is None or classes.shape != shape or classes.max() >= len(CLASSES):
        raise InputError(f"{path} is missing or does not fit its slide; delete both and draw again")
    return LabelMap(classes=classes, px_l0=spec.label_px_l0, um=LABEL_UM)


def read_description(slide_path: Path) -> str:
    """Return the ImageDescription of a TIFF.

    Raises:
        InputError: If the file is no TIFF, or has none.
    """
    try:
        with tifffile.TiffFile(slide_path) as tiff:
            return tiff.pages.first.description
    except (OSError, IndexError, tifffile.TiffFileError) as error:
        raise InputError(
            f"{slide_path} is no readable TIFF ({system_reason(error)}); draw it again"
        ) from error

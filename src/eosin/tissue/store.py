"""Tissue masks on disk: computed once for a slide and a source, then read in milliseconds."""

import uuid
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import cv2
import numpy as np
from jaxtyping import Bool

from eosin.backends.base import Slide
from eosin.errors import InputError, system_reason
from eosin.plain import fingerprint, to_plain
from eosin.tissue.base import TissueSource, mask_max_px
from eosin.tissue.mask import TissueMask

_VERSION = 1
"""Raised when a detector gives another mask for the same settings, so that old ones are left."""

_CHECKSUM_BYTES = 4


@final
@dataclass(frozen=True, slots=True)
class MaskStore:
    """A folder of masks, for any number of slides, sources, threads and processes at once.

    A mask is found by what determines it: the slide's content and how its reader describes it, the
    settings of the source and what it reads beside the slide, and the rule for a mask's size.
    Moving slides keeps their masks. A file is a black and white PNG with a checksum after its end;
    one that is damaged is computed again. Empty masks are kept like others.
    """

    folder: Path

    def tissue(self, slide: Slide, source: TissueSource) -> TissueMask:
        """Return a slide's mask, from the folder or else from the source, and then keep it.

        Raises:
            SlideError: If the source has no mask for this slide.
            InputError: If a new mask cannot be written into the folder.
        """
        path = self.path_of(slide, source)
        stored = _read(path)
        if stored is None:
            tissue = source.tissue(slide)
            _write(path, tissue.mask)
            return tissue
        return TissueMask(stored, width_l0=slide.info.width_l0, height_l0=slide.info.height_l0)

    def has(self, slide: Slide, source: TissueSource) -> bool:
        """Return whether the folder holds a sound mask of the slide.

        Raises:
            SlideError: If the source cannot say what the mask depends on.
        """
        return _read(self.path_of(slide, source)) is not None

    def knows(self, source: TissueSource) -> bool:
        """Return whether the folder holds any mask of a source with these settings."""
        return (self.folder / fingerprint(source)).is_dir()

    def path_of(self, slide: Slide, source: TissueSource) -> Path:
        """Return where a slide's mask is, or will be.

        Raises:
            SlideError: If the source cannot say what the mask depends on.
        """
        # Notes are for people, and came after masks had their names.
        described = to_plain(replace(slide.info, path="", notes=()))
        assert isinstance(described, dict)
        del described["notes"]
        content_key = source.content_key(slide)
        key = fingerprint([_VERSION, described, content_key, mask_max_px(slide.info)])
        return self.folder / fingerprint(source) / f"{key}.png"


def _read(path: Path) -> Bool[np.ndarray, "height width"] | None:
    """Return a mask, None when there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    png, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if checksum != _checksum(png):
        return None
    grey = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.asarray(grey != 0, dtype=bool)


def _write(path: Path, mask: Bool[np.ndarray, "height width"]) -> None:
    _, encoded = cv2.imencode(".png", mask.view(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    png = encoded.tobytes()
    # Two threads may write the same mask, so the name aside is nobody else's. It is not flushed to
    # the disk: what a power failure damages, its checksum tells.
    aside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.writing.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(png + _checksum(png))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path.parent}: the tissue mask of a slide cannot be written there "
            f"({system_reason(error)}); give a folder that can be written, or fill "
            "this one beforehand"
        ) from error


def _checksum(png: bytes) -> bytes:
    # An empty file must not pass: the checksum of nothing is 0.
    return (zlib.crc32(png) ^ 0xE05).to_bytes(_CHECKSUM_BYTES, "little")

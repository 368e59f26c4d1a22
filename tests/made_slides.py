"""Slides made on the spot: TIFFs that OpenSlide takes for Aperio's, and streams without files."""

from pathlib import Path

import cv2
import numpy as np
import tifffile

from eosin.backends import OpenSlideBackend, SyntheticBackend
from eosin.pipeline import PatchPipeline
from eosin.sampling import RandomSampler
from eosin.tissue import HSVTissueDetector

VIOLET = (150, 90, 180)


def smooth_tissue(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Draw violet tissue with soft spots on the middle of white glass."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 14, (height // 32 + 1, width // 32 + 1, 3)).astype(np.float32)
    spots = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.full((height, width, 3), 255, np.uint8)
    middle = np.s_[height // 8 : height - height // 8, width // 8 : width - width // 8]
    image[middle] = np.clip(np.asarray(VIOLET) + spots, 0, 255)[middle].astype(np.uint8)
    return image


def write_slide(
    path: Path,
    image: np.ndarray,
    *,
    mpp: float | str | None = 0.25,
    downsamples: tuple[int, ...] = (4,),
    compression: str = "adobe_deflate",
) -> Path:
    """Write a tiled pyramid with Aperio's description (without `MPP` when it is None)."""
    description = "Aperio Image Library v1.0" + ("" if mpp is None else f"|MPP = {mpp}")
    with tifffile.TiffWriter(path) as tiff:
        for downsample in (1, *downsamples):
            size = (image.shape[1] // downsample, image.shape[0] // downsample)
            level = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            tiff.write(
                level,
                tile=(256, 256),
                photometric="rgb",
                compression=compression,
                description=description,
                metadata=None,
            )
    return path


def break_tile(path: Path, tile: int, level: int = 0) -> None:
    """Overwrite the bytes of one tile, so that it cannot be decoded."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        begin, length = page.dataoffsets[tile], page.databytecounts[tile]
    content = bytearray(path.read_bytes())
    content[begin : begin + length] = bytes(length)
    path.write_bytes(content)


def names(num: int) -> list[str]:
    """Name slides without files."""
    return [f"made://slide_{number}" for number in range(num)]


def synthetic_pipeline(num_slides: int = 4, **settings) -> PatchPipeline:
    """Make a small stream of slides without files."""
    defaults = {
        "slide_paths": names(num_slides),
        "backend": SyntheticBackend(),
        "tissue_detector": HSVTissueDetector(),
        "sampler": RandomSampler(patch_size=32),
        "pool_size": 2,
        "patches_per_slide": 5,
        "seed": 7,
    }
    return PatchPipeline(**{**defaults, **settings})


def write_folder(folder: Path, num_slides: int = 3) -> Path:
    """Write small slides with different tissue into a new folder."""
    folder.mkdir()
    for number in range(num_slides):
        write_slide(folder / f"{number}.svs", smooth_tissue(700, 600, seed=number))
    return folder


def file_pipeline(folder: Path, **settings) -> PatchPipeline:
    """Make an endless stream of such a folder."""
    return PatchPipeline(
        slide_paths=folder,
        backend=OpenSlideBackend(),
        tissue_detector=HSVTissueDetector(),
        sampler=RandomSampler(patch_size=64, target_mpp=0.5),
        cycle=True,
        **settings,
    )

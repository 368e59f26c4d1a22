"""Phantom slides for benchmarks, whose levels are the magnifications Midnight asks for."""

import sys
from pathlib import Path

import cv2
import tifffile

from eosin.phantom import PhantomSpec, draw_phantom

LEVELS = (1, 2, 4, 8)


def write_bench_slides(
    folder: Path, *, num_slides: int, side_l0: int, tile: int = 256
) -> list[str]:
    """Write Aperio slides at 0.25, 0.5, 1 and 2 um/px; those that are there are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"bench_{side_l0}_{tile}_{number}.svs" for number in range(num_slides)]
    for number, path in enumerate(paths):
        if path.exists():
            continue
        rgb, _ = draw_phantom(PhantomSpec(seed=number, width_l0=side_l0, height_l0=side_l0))
        aside = path.with_suffix(".part")
        with tifffile.TiffWriter(aside) as tiff:
            for downsample in LEVELS:
                side = side_l0 // downsample
                tiff.write(
                    cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA),
                    tile=(tile, tile),
                    photometric="ycbcr",
                    subsampling=(2, 2),
                    compression="jpeg",
                    compressionargs={"level": 80},
                    description="Aperio Image Library v1.0|AppMag = 40|MPP = 0.25",
                    metadata=None,
                )
        aside.rename(path)
    return [str(path) for path in paths]


if __name__ == "__main__":
    print(*write_bench_slides(Path(sys.argv[1]), num_slides=4, side_l0=int(sys.argv[2])))

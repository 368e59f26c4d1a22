"""Random 256-px reads at level 0 on tissue: the direct reader, OpenSlide, and the floor.

.venv/bin/python benchmarks/bench_reads.py SLIDE [SLIDE ...]

The floor decodes the very same tiles from memory, whole, into one buffer. Runs alternate; one core.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from machine import describe_machine

from eosin.backends import OpenSlideBackend, Slide, TiffBackend
from eosin.backends.tiff import TiffSlide
from eosin.backends.tile_cache import SHARED_CACHE
from eosin.tissue import HSVTissueDetector
from eosin.tissue.mask import Extent

NUM_READS = 400
NUM_RUNS = 7


def read_all(slide: Slide, places: list[tuple[int, int]]) -> None:
    for x, y in places:
        slide.read_region(x, y, 0, 256, 256)


def floor_of(slide: TiffSlide, places: list[tuple[int, int]]) -> Callable[[], None]:
    """Return what decodes the tiles under the places and does nothing else."""
    grid = slide._layout.levels[0]
    shared, colorspace = grid.decoder._tables, "rgb" if grid.decoder._is_rgb else "ycbcr"
    tables = b"\xff\xd8" + shared + b"\xff\xd9" if shared else None
    content = Path(slide.info.path).read_bytes()
    tiles = []
    for x, y in places:
        for row in range(y // grid.tile_height, (y + 255) // grid.tile_height + 1):
            for column in range(x // grid.tile_width, (x + 255) // grid.tile_width + 1):
                number = row * grid.num_columns + column
                begin = int(grid.offsets[number])
                tiles.append(content[begin : begin + int(grid.byte_counts[number])])
    buffer = np.empty((grid.tile_height, grid.tile_width, 3), np.uint8)

    def decode() -> None:
        for tile in tiles:
            imagecodecs.jpeg8_decode(
                tile, tables=tables, colorspace=colorspace, outcolorspace="rgb", out=buffer
            )

    return decode


def main() -> None:
    os.sched_setaffinity(0, {0})
    print(describe_machine())
    print("\n| slide | tile px | reads/s | against OpenSlide | against the floor |")
    print("|---|---|---|---|---|")
    for path in sys.argv[1:]:
        ours, reference = TiffBackend().open(path), OpenSlideBackend().open(path)
        tissue = HSVTissueDetector().tissue(ours)
        rng = np.random.default_rng(0)
        drawn = (tissue.draw_place(rng, Extent(256, 256), 0.4) for _ in range(NUM_READS))
        places = [place for place in drawn if place is not None]
        tasks = {
            "ours": lambda s=ours, p=places: read_all(s, p),
            "openslide": lambda s=reference, p=places: read_all(s, p),
            "floor": floor_of(ours, places),
        }
        durations: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(NUM_RUNS):
            for name, task in tasks.items():
                SHARED_CACHE.clear()  # the same places come again in the next run only
                begin = time.perf_counter()
                task()
                durations[name].append(time.perf_counter() - begin)
        median = {name: statistics.median(values) for name, values in durations.items()}
        tile = ours._layout.levels[0].tile_width
        print(
            f"| {Path(path).name} | {tile} | {len(places) / median['ours']:.0f} | "
            f"{median['openslide'] / median['ours']:.2f} | "
            f"{median['floor'] / median['ours']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

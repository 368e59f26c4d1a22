"""Resident memory over many patches with many slides open.

.venv/bin/python benchmarks/bench_memory.py [--patches 50000] [--slides 64]
"""

import argparse
import gc
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

from bench_slides import write_bench_slides
from machine import describe_machine
from own_stream import midnight

from eosin.tissue import MaskStore


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--patches", type=int, default=50_000)
    parser.add_argument("--slides", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(describe_machine())
    print("\n| patches | resident MiB |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        slides = write_bench_slides(Path(folder), num_slides=arguments.slides, side_l0=2048)
        stream = replace(
            midnight(slides, reader="auto", num_threads=arguments.threads),
            pool_size=arguments.slides,
            max_open_slides=arguments.slides,
            mask_store=MaskStore(Path(folder) / "masks"),
        )
        seen = []
        for number, _ in enumerate(itertools.islice(stream, arguments.patches), 1):
            if number % (arguments.patches // 10) == 0:
                gc.collect()
                seen.append(resident_mib())
                print(f"| {number} | {seen[-1]:.0f} |", flush=True)
        # The first tenth opens slides and fills caches.
        growth = seen[-1] / seen[1] - 1
        print(f"\nfrom {arguments.patches // 5} to {arguments.patches} patches: {growth:+.1%}")


if __name__ == "__main__":
    main()

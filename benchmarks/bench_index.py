"""The first patch from an index of ten thousand slides, in a fresh process.

.venv/bin/python benchmarks/bench_index.py
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_slides import write_bench_slides
from machine import describe_machine

from eosin.backends import AutoBackend
from eosin.catalog import list_slides
from eosin.filters import HSVPatchFilter
from eosin.sampling import MultiMagnificationSampler
from eosin.scan import ScanPlan, scan_slides
from eosin.tissue import HSVTissueDetector, MaskStore

NUM_SLIDES = 10_000
NUM_RUNS = 5

FIRST_PATCH = """
import sys
from pathlib import Path
from eosin.backends import AutoBackend
from eosin.filters import HSVPatchFilter
from eosin.pipeline import PatchPipeline
from eosin.sampling import MultiMagnificationSampler
from eosin.tissue import HSVTissueDetector, MaskStore

index = Path(sys.argv[1])
stream = PatchPipeline(
    slide_paths=index,
    where="split == 'train'",
    backend=AutoBackend(),
    tissue_detector=HSVTissueDetector(),
    sampler=MultiMagnificationSampler(),
    patch_filter=HSVPatchFilter(),
    slide_sampling="random",
    cycle=True,
    mask_store=MaskStore(index.with_suffix(".masks")),
)
next(iter(stream))
stream.state_dict()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (whole,) = write_bench_slides(folder, num_slides=1, side_l0=1024)
        content = Path(whole).read_bytes()
        table = ["path,split"]
        for number in range(NUM_SLIDES):
            path = folder / "slides" / f"{number:05d}.svs"
            path.parent.mkdir(exist_ok=True)
            # A byte of its own, so that no slide is another's copy.
            path.write_bytes(content + number.to_bytes(4, "little"))
            table.append(f"slides/{path.name},{'train' if number % 10 else 'test'}")
        (folder / "slides.csv").write_text("\n".join(table))
        index = folder / "index.parquet"
        plan = ScanPlan(
            backend=AutoBackend(),
            tissue_source=HSVTissueDetector(),
            sampler=MultiMagnificationSampler(),
            patch_filter=HSVPatchFilter(),
            num_candidates=1,
        )
        begin = time.perf_counter()
        masks = MaskStore(index.with_suffix(".masks"))
        scan_slides(
            list_slides(folder / "slides.csv"), index, plan, mask_store=masks, num_threads=2
        )
        scan_s = time.perf_counter() - begin
        durations = []
        for _ in range(NUM_RUNS):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", FIRST_PATCH, index], check=True)
            durations.append(time.perf_counter() - begin)
        size = index.stat().st_size
    print(describe_machine())
    print(
        f"\nscan of {NUM_SLIDES} slides (1,024 px, one candidate each): {scan_s:.0f} s; index "
        f"{size / 2**20:.1f} MiB\nfirst patch and state from it, process start and imports "
        f"included: {statistics.median(durations):.2f} s (of {NUM_RUNS}: {min(durations):.2f} to "
        f"{max(durations):.2f})"
    )


if __name__ == "__main__":
    main()

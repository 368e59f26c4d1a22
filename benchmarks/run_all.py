"""Every benchmark of the stream, one after the other, as one page of Markdown.

.venv/bin/python benchmarks/run_all.py [FOLDER OF SLIDES] > benchmarks/results/DATE.md

Takes the JPEG slides of the folder, beside phantoms that it draws. Half an hour on two quiet cores.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_slides import write_bench_slides
from machine import describe_machine

from eosin.backends import AutoBackend
from eosin.backends.files import find_slides
from eosin.errors import SlideError

HERE = Path(__file__).parent


def jpeg_slides(folder: Path) -> list[str]:
    slides = []
    for path in find_slides(folder):
        try:
            with AutoBackend().open(path) as slide:
                if slide.info.codec == "jpeg" and slide.info.mpp is not None:
                    slides.append(path)
        except SlideError as error:
            print(f"left out: {error}", file=sys.stderr)
    return slides


def section(title: str, script: str, *arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    print(f"\n## {title}\n\n`benchmarks/{script}`\n", flush=True)
    done = subprocess.run(
        [sys.executable, HERE / script, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    # Each says what it ran on; here that is said once.
    lines = [line for line in done.stdout.splitlines() if not line.startswith(describe_machine())]
    print("\n".join(lines).strip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--peer-python", type=Path, help="of an environment with wsistream")
    parser.add_argument("--views-python", type=Path, help="of an environment with albumentations")
    arguments = parser.parse_args()
    slides = jpeg_slides(arguments.folder) if arguments.folder else []
    # What people compare with: slides whose every level is a JPEG pyramid of Aperio's kind.
    svs = [path for path in slides if path.endswith(".svs")]
    peer = ["--peer-python", arguments.peer_python] if arguments.peer_python else []
    views = ["--peer-python", arguments.views_python] if arguments.views_python else []
    print(f"# Benchmarks\n\n{describe_machine()}\n\nSlides: ", end="")
    print(", ".join(Path(path).name for path in slides) or "phantoms alone")
    with tempfile.TemporaryDirectory() as folder:
        made = [
            *write_bench_slides(Path(folder), num_slides=1, side_l0=8192),
            *write_bench_slides(Path(folder), num_slides=1, side_l0=8192, tile=512),
        ]
        section("Random reads", "bench_reads.py", *slides, *made)
    section("Midnight's stream", "bench_peer.py", *peer, "--slides", *svs)
    section("DINOv2's views", "bench_views.py", *views)
    section("First patch", "bench_index.py")
    section("Memory", "bench_memory.py")


if __name__ == "__main__":
    main()

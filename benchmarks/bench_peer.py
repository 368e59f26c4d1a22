"""Midnight's stream against wsistream, both on one core, on the same slides, runs alternating.

.venv/bin/python benchmarks/bench_peer.py [--slides SLIDE ...] [--peer-python PYTHON]

Without --peer-python an environment with the peer is made. Phantom slides at 0.25, 0.5, 1 and 2
um/px are drawn beside the slides that are given, since the peer takes the nearest level of a slide
and resamples nothing: only on those does it read what it is asked for.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_slides import write_bench_slides
from machine import describe_machine

HERE = Path(__file__).parent
PEER = ("wsistream==0.1.6", "openslide-python", "openslide-bin", "opencv-python-headless")
NUM_RUNS = 5


def peer_python(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    constraints = HERE.parent / "constraints.txt"
    pip = [folder / "bin" / "pip", "install", "--quiet", "-c", constraints, *PEER]
    subprocess.run(pip, check=True)
    return folder / "bin" / "python"


def run(command: list[str | Path]) -> dict[str, float]:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def alternate(
    commands: dict[str, list[str | Path]], num_runs: int
) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(num_runs):
        for name, command in commands.items():
            results[name].append(run(command))
    return results


def row(what: str, num_patches: int, results: dict[str, list[dict[str, float]]], than: str) -> str:
    """Return a line of the table: the first of the results against another."""
    ours = next(iter(results))
    rates = {name: [num_patches / one["s"] for one in runs] for name, runs in results.items()}
    ratios = [a / b for a, b in zip(rates[ours], rates[than], strict=True)]
    cells = [f"{statistics.median(rates[name]):.0f}" for name in (ours, than)]
    spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
    return f"| {what} | {cells[0]} | {cells[1]} | {statistics.median(ratios):.1f} ({spread}) |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slides", nargs="*", default=[])
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--patches", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    parser.add_argument("--side", type=int, default=8192, help="of the phantoms, in pixels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = write_bench_slides(Path(folder), num_slides=4, side_l0=arguments.side)
        python = arguments.peer_python or peer_python(Path(folder) / "peer")
        peer = [python, HERE / "peers" / "wsistream_stream.py"]
        own = [sys.executable, HERE / "own_stream.py"]
        count = ["--patches", str(arguments.patches)]
        sets = {"slides and phantoms": [*arguments.slides, *made], "phantoms alone": made}
        print(describe_machine() + f"; {' '.join(PEER[:1])}; {arguments.runs} alternating runs\n")
        print("| stream of Midnight, accepted patches/s | eosin | other | ratio (range) |")
        print("|---|---|---|---|")
        hed = []
        for name, slides in sets.items():
            if name == "slides and phantoms" and not arguments.slides:
                continue
            for label, flags in (("cold", []), ("masks there", ["--warm"])):
                results = alternate(
                    {
                        "eosin": [*own, *slides, *count, *flags],
                        "peer": [*peer, *slides, *count, *flags],
                    },
                    arguments.runs,
                )
                what = f"{name}, {label}, against the peer"
                print(row(what, arguments.patches, results, "peer"), flush=True)
                pairs = zip(results["eosin"], results["peer"], strict=True)
                hed += [(ours["hed_s"], theirs["hed_s"]) for ours, theirs in pairs]
        everything = [*arguments.slides, *made]
        others = {
            "OpenSlide instead of the direct reader": ["--reader", "openslide"],
            "1 thread instead of 2": ["--threads", "1"],
        }
        for label, flags in others.items():
            ours = ["--threads", "2"] if "thread" in label else []
            results = alternate(
                {
                    "eosin": [*own, *everything, *count, "--warm", *ours],
                    "other": [*own, *everything, *count, "--warm", *flags],
                },
                arguments.runs,
            )
            print(row(f"masks there, against {label}", arguments.patches, results, "other"))
    ours_ms = statistics.median(ours for ours, _ in hed) * 1e3
    peer_ms = statistics.median(theirs for _, theirs in hed) * 1e3
    ratio = statistics.median(theirs / ours for ours, theirs in hed)
    print(f"\nHED of 256 x 256 px: {ours_ms:.2f} ms, the peer {peer_ms:.2f} ms: {ratio:.1f} times")


if __name__ == "__main__":
    main()

"""Damage every slide of some folders in many ways, and count what happens.

PYTHONPATH=tests .venv/bin/python tests/fuzz/fuzz_slides.py FOLDER [FOLDER ...] [--cases 100]

Exits 1 if any case crashed, hung, failed without a name, or changed a sample of a good slide, or
if fewer than 30 % of the cases still open.
"""

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from eosin.backends.files import find_slides
from fuzz.damage import changes, truncations
from fuzz.outcome import in_own_process, judge, samples_of
from made_slides import smooth_tissue, write_slide

BAD = ("CRASHED", "HUNG", "UNNAMED", "CHANGED", "ENDED")


def cases(path: Path, folder: Path, num: int) -> Iterator[tuple[str, Path]]:
    content = path.read_bytes()
    damages = chain(truncations(content, num // 2), changes(path, content, num - num // 2, seed=0))
    for number, damage in enumerate(damages):
        damaged = folder / f"{number} {path.name}"
        damaged.write_bytes(damage.content)
        yield damage.kind, damaged
        damaged.unlink()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--cases", type=int, default=100, help="for each slide")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = [
            write_slide(folder / f"good{n}.svs", smooth_tissue(700, 600, seed=n)) for n in range(2)
        ]
        for path in (Path(p) for given in arguments.folders for p in find_slides(given)):
            whole = in_own_process(lambda p=path: samples_of([good[0], p, good[1]]))
            expected = whole if isinstance(whole, list) else []
            of_slide: Counter[str] = Counter()
            for kind, damaged in cases(path, folder, arguments.cases):
                outcome = str(in_own_process(lambda d=damaged, e=expected: judge(d, good, e)))
                counts[kind, outcome] += 1
                of_slide[outcome] += 1
                if outcome.startswith(BAD):
                    kept = Path(tempfile.gettempdir()) / f"eosin fuzz {damaged.name}"
                    kept.write_bytes(damaged.read_bytes())
                    print(f"{outcome}: {kind}, kept as {kept}", flush=True)
            print(f"{path.name}: {dict(of_slide)}", flush=True)
    return summarize(counts)


def summarize(counts: Counter[tuple[str, str]]) -> int:
    print("\n| damage | outcome | cases |\n|---|---|---|")
    for (kind, outcome), number in sorted(counts.items()):
        print(f"| {kind} | {outcome} | {number} |")
    opened = sum(n for (_, outcome), n in counts.items() if outcome.startswith("opened"))
    bad = sum(n for (_, outcome), n in counts.items() if outcome.startswith(BAD))
    total = counts.total()
    print(f"\n{total} cases; {opened / total:.0%} still open; {bad} bad outcomes")
    return int(bad > 0 or opened < 0.3 * total)


if __name__ == "__main__":
    sys.exit(main())

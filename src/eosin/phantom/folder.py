"""Draws a set of phantom slides into a folder, in several processes, each slide once."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from eosin.atomic import check_file
from eosin.children import end_with_parent
from eosin.errors import ConfigError, InputError
from eosin.phantom.labels import read_labels, read_spec
from eosin.phantom.slide import write_phantom
from eosin.phantom.spec import PenColour, PhantomSpec

_PENS: tuple[PenColour | None, ...] = ("green", None, None, "black", None, None, "blue", None, None)

_HEAD_BYTES = 4096
"""Holds the description of a slide."""


def write_phantoms(
    folder: Path,
    *,
    num_slides: int,
    seed: int,
    side_l0: int = 4096,
    num_workers: int = 1,
    on_done: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Draw `phantom_000.svs`, `phantom_001.svs`, ... with their label maps; return their paths.

    Slides that already stand there, drawn from the same spec, are left as they are. Every third
    has a pen mark. Slide i depends on (seed, i) and its size only, so a larger set begins with the
    smaller one.

    Args:
        folder: Made if it does not exist.
        num_slides: Size of the set.
        seed: Of the whole set.
        side_l0: Width and height of every slide, at 0.25 um/px.
        num_workers: Processes to draw in; 1 draws in this one. They are spawned, so a script that
            asks for more needs its `if __name__ == "__main__"`.
        on_done: Called here with the path of each slide that is there, new or not, in any order.

    Raises:
        ConfigError: If a number is less than 1, or a file of that name is there that is no phantom.
        WriteError: If a slide cannot be written, such as on a full disk.
    """
    if num_slides < 1 or num_workers < 1:
        raise ConfigError(
            f"num_slides={num_slides} and num_workers={num_workers} must be at least 1"
        )
    done = on_done or (lambda _: None)
    specs = {
        folder / f"phantom_{index:03d}.svs": _spec_of(seed, index, side_l0)
        for index in range(num_slides)
    }
    missing = {path: spec for path, spec in specs.items() if not _stands(path, spec)}
    for path in missing:
        check_file(path, "a phantom slide", is_ours=_is_phantom)
    for path in specs.keys() - missing.keys():
        done(path)
    if num_workers == 1:
        for path, spec in missing.items():
            write_phantom(path, spec)
            done(path)
        return list(specs)
    with ProcessPoolExecutor(
        min(num_workers, len(missing)) or 1, get_context("spawn"), _begin_worker
    ) as pool:
        paths = {pool.submit(write_phantom, path, spec): path for path, spec in missing.items()}
        try:
            for future in as_completed(paths):
                future.result()
                done(paths[future])
        finally:
            # After a failure the slides not begun yet stay undrawn.
            pool.shutdown(cancel_futures=True)
    return list(specs)


def _spec_of(seed: int, index: int, side_l0: int) -> PhantomSpec:
    (slide_seed,) = np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1)
    pen = _PENS[index % len(_PENS)]
    return PhantomSpec(seed=int(slide_seed), width_l0=side_l0, height_l0=side_l0, pen=pen)


def _is_phantom(path: Path) -> bool:
    """Return whether a file began as a phantom, of any version, be it damaged since."""
    with path.open("rb") as file:
        return b"eosin phantom" in file.read(_HEAD_BYTES)


def _stands(path: Path, spec: PhantomSpec) -> bool:
    try:
        read_labels(path)
        return read_spec(path) == spec
    except InputError:
        return False


def _begin_worker() -> None:
    end_with_parent()
    cv2.setNumThreads(1)

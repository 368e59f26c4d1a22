"""A run that is ended from outside, again and again, must end as if it had never been."""

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

# What an optimiser of sharded parameters imports, or every child does it anew: 0.4 s.
import torch._dynamo
from torch import distributed

from eosin.cli import EXIT_INTERRUPTED
from eosin.errors import InterruptedRunError
from eosin.train.checkpoint import list_checkpoints
from eosin.train.loop import train
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from train.test_loop import untimed
from train.tiny import tiny_config

NUM_KILLS = 10
TINY = tiny_config(steps=40, checkpoint_every_steps=2, ibot_head=None)
CONFIG = replace(TINY, model=replace(TINY.model, depth=1))
TIMEOUT_S = 600
"""Of a whole run, on a machine that others use as well."""
ALONE_TIMEOUT_S = 60
"""After which a process gives up waiting for another."""


@dataclass
class Running:
    """A run on its processes, forked: this one has imported torch, which takes seconds."""

    folder: Path
    processes: list[ForkProcess]

    def wait(self) -> list[int | None]:
        """Return the exit codes, once all processes have ended by themselves."""
        for process in self.processes:
            process.join(TIMEOUT_S)
        return [process.exitcode for process in self.processes]

    @property
    def is_alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    @property
    def is_saving(self) -> bool:
        return any((self.folder / "checkpoints").glob(".step_*"))


def start(num_ranks: int, slides: Sequence[Path], folder: Path) -> Running:
    store = Path(tempfile.mkdtemp(dir=folder.parent)) / "store"
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(
            target=_rank_main, args=(rank, num_ranks, slides, folder, store), daemon=True
        )
        for rank in range(num_ranks)
    ]
    for process in processes:
        process.start()
    return Running(folder, processes)


def _rank_main(
    rank: int, num_ranks: int, slides: Sequence[Path], folder: Path, store: Path
) -> None:
    # The parent's OpenMP threads do not exist here, and waiting for them would be for ever.
    torch.set_num_threads(1)
    os.environ.update(WORLD_SIZE=str(num_ranks), RANK=str(rank), LOCAL_RANK=str(rank))
    if num_ranks > 1:
        distributed.init_process_group(
            "gloo",
            init_method=store.as_uri(),
            rank=rank,
            world_size=num_ranks,
            timeout=timedelta(seconds=ALONE_TIMEOUT_S),
        )
    code = 1
    try:
        train(CONFIG, list(slides), folder, site=Site(device="cpu", num_threads=2))
        code = 0
    except InterruptedRunError:
        code = EXIT_INTERRUPTED
    finally:
        # Without what else the parent would do at its end.
        os._exit(code)


def num_lines(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def signal_at_a_moment(
    running: Running, moment: random.Random, number: signal.Signals, *, in_save: bool
) -> bool:
    """Send a signal to one or all processes soon after a step, or after a save has begun.

    Returns:
        Whether it came while a checkpoint was being written.
    """
    target = num_lines(running.folder) + 1
    give_up = time.monotonic() + TIMEOUT_S
    while running.is_alive and time.monotonic() < give_up:
        if num_lines(running.folder) >= target and (not in_save or running.is_saving):
            break
        time.sleep(0.001)
    # Saves are over soon on a fast machine: some are met at their very beginning.
    time.sleep(max(0.0, moment.random() - 0.5) * (0.02 if in_save else 0.1))
    was_saving = running.is_saving
    for process in moment.sample(running.processes, moment.randint(1, len(running.processes))):
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, number)
    return was_saving


class Whole(NamedTuple):
    """A run that nothing ended."""

    num_ranks: int
    measured: list[dict[str, float | int]]


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]
) -> Whole:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(request.param, phantoms, folder).wait() == [0] * request.param
    return Whole(request.param, untimed(RunFolder(folder)))


def assert_as_if_nothing_had_been(folder: Path, slides: list[Path], whole: Whole) -> None:
    assert start(whole.num_ranks, slides, folder).wait() == [0] * whole.num_ranks
    found = untimed(RunFolder(folder))
    assert [record["step"] for record in found] == list(range(CONFIG.steps))
    assert found == whole.measured
    assert not list(folder.rglob("*.writing*"))


@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_no_trace_in_losses_and_samples(
    tmp_path: Path, phantoms: list[Path], whole: Whole
):
    moment = random.Random(whole.num_ranks)
    folder = tmp_path / "run"
    num_killed = num_in_save = 0
    for kill in range(NUM_KILLS):
        running = start(whole.num_ranks, phantoms, folder)
        num_in_save += signal_at_a_moment(running, moment, signal.SIGKILL, in_save=kill % 2 == 1)
        # Who is left alone ends too, and finds no reason to say that all went well.
        codes = running.wait()
        assert set(codes) <= {-signal.SIGKILL, 1}
        num_killed += -signal.SIGKILL in codes
    assert num_killed == NUM_KILLS
    assert num_in_save >= 1
    assert_as_if_nothing_had_been(folder, phantoms, whole)


@pytest.mark.slow
def test_ten_requests_to_stop_at_random_moments_lose_no_step(
    tmp_path: Path, phantoms: list[Path], whole: Whole
):
    moment = random.Random(whole.num_ranks)
    folder = tmp_path / "run"
    num_in_save = 0
    for stop in range(NUM_KILLS):
        running = start(whole.num_ranks, phantoms, folder)
        num_in_save += signal_at_a_moment(running, moment, signal.SIGTERM, in_save=stop % 2 == 1)
        assert running.wait() == [EXIT_INTERRUPTED] * whole.num_ranks
        newest = list_checkpoints(folder / "checkpoints")[-1]
        assert newest.name == f"step_{num_lines(folder):08d}"
    assert num_in_save >= 1
    assert_as_if_nothing_had_been(folder, phantoms, whole)

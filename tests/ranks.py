"""Runs a function on several ranks at once, as forked processes that talk by gloo.

Forking after torch is imported makes a launch cheap (0.1 s instead of 4 s for a fresh interpreter).
"""

import multiprocessing
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

import torch
import torch._dynamo  # FSDP2 imports it when first called: here once, not on each rank
from torch import distributed

T = TypeVar("T")


def on_ranks(num_ranks: int, function: Callable[[int], T], *, timeout_s: float = 300.0) -> list[T]:
    """Return what the function gives on each rank; it is called with the rank.

    Closures are fine; what is returned is pickled. One thread on each rank.

    Raises:
        AssertionError: With the traceback, if a rank raises; or if one takes too long, as when
            another waits for it in vain.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(num_ranks)]
        processes = [
            context.Process(
                target=_rank_main,
                args=(rank, num_ranks, function, Path(folder) / "store", pipes[rank][1], timeout_s),
                daemon=True,
            )
            for rank in range(num_ranks)
        ]
        try:
            for process in processes:
                process.start()
            for _, sender in pipes:
                sender.close()
            return _results([receiver for receiver, _ in pipes], timeout_s)
        finally:
            for process in processes:
                process.kill()
                process.join()
            for receiver, _ in pipes:
                receiver.close()


def _results(receivers: list[Connection], timeout_s: float) -> list:
    deadline = time.monotonic() + timeout_s
    outcomes: dict[Connection, object] = {}
    errors: list[str] = []
    while waiting := [receiver for receiver in receivers if receiver not in outcomes]:
        # After one rank has failed, the others may wait for it until they are killed.
        left_s = 2.0 if errors else deadline - time.monotonic()
        ready = wait(waiting, timeout=max(0.0, left_s))
        if not ready:
            break
        for receiver in ready:
            outcomes[receiver], error = _outcome(receiver)
            errors += [f"rank {receivers.index(receiver)}: {error}"] if error else []
    if errors:
        raise AssertionError("\n".join(errors))
    if waiting:
        silent = [receivers.index(receiver) for receiver in waiting]
        raise AssertionError(f"ranks {silent} said nothing within {timeout_s} s")
    return [outcomes[receiver] for receiver in receivers]


def _outcome(receiver: Connection) -> tuple[object, str | None]:
    try:
        return pickle.loads(receiver.recv_bytes())
    except EOFError:
        return None, "died without a word"


def _rank_main(
    rank: int,
    num_ranks: int,
    function: Callable[[int], object],
    store: Path,
    sender: Connection,
    timeout_s: float,
) -> None:
    # The parent's OpenMP threads do not exist here, and waiting for them would be for ever.
    torch.set_num_threads(1)
    try:
        distributed.init_process_group(
            "gloo",
            init_method=store.as_uri(),
            rank=rank,
            world_size=num_ranks,
            timeout=timedelta(seconds=timeout_s),
        )
        # One that ends at once must not be gone while another still connects to it.
        distributed.barrier()
        outcome, error = function(rank), None
        distributed.destroy_process_group()
    except Exception:  # noqa: BLE001 - whatever it is, the test shall show it
        outcome, error = None, traceback.format_exc()
    sender.send_bytes(pickle.dumps((outcome, error)))

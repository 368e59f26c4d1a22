"""A run that is asked to stop saves and ends soon, whatever it is waiting for, on all processes."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from eosin.errors import InterruptedRunError
from eosin.loader import Batch
from eosin.stream.result import PatchResult
from eosin.stream.search import Fruitless, SampleSource
from eosin.train import loop
from eosin.train.begin import Session
from eosin.train.checkpoint import list_checkpoints
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.signals import ASKS_TO_STOP, StopRequest
from eosin.train.site import Site
from eosin.train.student_teacher import StudentTeacher
from ranks import on_ranks
from train.tiny import tiny_config

CPU = Site(device="cpu", num_threads=1)
CONFIG = tiny_config(steps=4, checkpoint_every_steps=4, ibot_head=None)
SLOW_S = 600
"""What the next batch would take, such as when new slides need masks."""
SOON_S = 300
"""Far more than a step and a save take, and less than the batch."""


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def stop_while_waiting(
    monkeypatch: pytest.MonkeyPatch, before_step: int, *, is_slow: bool, is_asked: bool
) -> None:
    """Let a step's batch take long, and ask this process to stop while it waits for it."""
    original = loop._batches

    def slow(session: Session, stop: StopRequest) -> Iterator[tuple[Batch, ...]]:
        for parts in original(session, stop):
            if parts[0].step == before_step:
                if is_asked and not is_slow:
                    ask_to_stop()
                if is_asked and is_slow:
                    threading.Timer(0.1, ask_to_stop).start()
                if is_slow:
                    wait_or_leave(stop)
                    return
            yield parts

    monkeypatch.setattr(loop, "_batches", slow)


def wait_or_leave(stop: StopRequest) -> None:
    """Wait as `train_batches` does."""
    begin_s = time.monotonic()
    while not stop.requested and time.monotonic() - begin_s < SLOW_S:
        time.sleep(0.01)


def saved_in(folder: Path) -> list[str]:
    return [path.name for path in list_checkpoints(folder / "checkpoints")]


@pytest.mark.parametrize("before_step", [0, 2])
def test_a_wait_for_slides_is_left_and_no_step_is_lost(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch, before_step: int
):
    go_on = threading.Event()
    original = SampleSource.draw

    def slow(source: SampleSource, index: int) -> PatchResult | Fruitless:
        if index == before_step * CONFIG.global_batch:
            # Read ahead, so that steps before it may not be over yet.
            while len(RunFolder(tmp_path).metrics()) < before_step and not go_on.wait(0.02):
                pass
            threading.Timer(0.2, ask_to_stop).start()
            go_on.wait(SLOW_S)
        return original(source, index)

    with monkeypatch.context() as patched:
        patched.setattr(SampleSource, "draw", slow)
        begin_s = time.monotonic()
        with pytest.raises(InterruptedRunError) as stopped:
            train(CONFIG, phantoms, tmp_path, site=CPU)
        assert time.monotonic() - begin_s < SOON_S
    go_on.set()
    assert stopped.value.step == before_step
    assert saved_in(tmp_path) == ([f"step_{before_step:08d}"] if before_step else [])
    run = train(CONFIG, phantoms, tmp_path, site=CPU)
    assert [record["step"] for record in run.metrics()] == list(range(CONFIG.steps))


@pytest.mark.parametrize(
    ("is_slow", "is_asked"),
    [
        # All wait and all are asked, as by a scheduler.
        ((True, True), (True, True)),
        # One waits and is asked; the other has its batch and waits for the first.
        ((False, True), (False, True)),
        # One is asked, and the other has its batch.
        ((False, False), (True, False)),
    ],
)
@pytest.mark.parametrize("before_step", [0, 2])
def test_processes_stop_together_after_the_same_step(
    tmp_path: Path,
    phantoms: list[Path],
    before_step: int,
    is_slow: tuple[bool, bool],
    is_asked: tuple[bool, bool],
):
    def on_rank(rank: int) -> int:
        os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
        with pytest.MonkeyPatch.context() as patched:
            stop_while_waiting(patched, before_step, is_slow=is_slow[rank], is_asked=is_asked[rank])
            with pytest.raises(InterruptedRunError) as stopped:
                train(CONFIG, phantoms, tmp_path, site=CPU)
        return stopped.value.step

    assert on_ranks(2, on_rank, timeout_s=SOON_S) == [before_step] * 2
    assert saved_in(tmp_path) == ([f"step_{before_step:08d}"] if before_step else [])
    assert len(RunFolder(tmp_path).metrics()) == before_step


def test_signals_have_their_own_action_until_the_first_step_and_are_noted_until_the_end(
    tmp_path: Path, phantoms: list[Path]
):
    """Before the first step nothing is lost, and the bank of tiles can take minutes to draw."""
    seen: dict[str, list[object]] = {}

    class Looking(Monitor):
        def run_started(self, first_step: int, num_steps: int) -> None:
            seen["start"] = [signal.getsignal(number) for number in ASKS_TO_STOP]

        def step_done(
            self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
        ) -> Mapping[str, float | int]:
            seen["step"] = [signal.getsignal(number) for number in ASKS_TO_STOP]
            return {}

        def run_ended(self) -> None:
            seen["end"] = [signal.getsignal(number) for number in ASKS_TO_STOP]

    before = [signal.getsignal(number) for number in ASKS_TO_STOP]
    train(tiny_config(steps=1), phantoms, tmp_path, site=CPU, monitors=[Looking()])
    assert seen["start"] == before
    assert not set(seen["step"]) & set(before)
    assert seen["end"] == seen["step"]
    assert [signal.getsignal(number) for number in ASKS_TO_STOP] == before


def test_a_stop_that_comes_with_a_checkpoint_writes_no_second_one(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    saved = []
    original = loop._save

    def counted(session: Session, num_done: int) -> None:
        saved.append(num_done)
        original(session, num_done)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "_save", counted)
    with pytest.raises(InterruptedRunError, match="after 2 steps"):
        train(tiny_config(steps=4, checkpoint_every_steps=2), phantoms, tmp_path, site=CPU)
    assert saved == [2]


def test_a_stop_that_comes_with_the_last_step_is_none(
    tmp_path: Path, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
):
    original = loop._save

    def asked(session: Session, num_done: int) -> None:
        original(session, num_done)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "_save", asked)
    run = train(tiny_config(steps=2, checkpoint_every_steps=2), phantoms, tmp_path, site=CPU)
    assert len(run.metrics()) == 2

"""What a save must not wait for, and what all processes say when a disk is full."""

import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from eosin.catalog import SlideEntry
from eosin.errors import CheckpointError, InterruptedRunError, TrainingError
from eosin.stream import state
from eosin.train import loop
from eosin.train.begin import Session
from eosin.train.checkpoint import list_checkpoints
from eosin.train.loop import train
from eosin.train.monitors import Monitor
from eosin.train.run_folder import RunFolder
from eosin.train.site import Site
from eosin.train.student_teacher import StudentTeacher
from ranks import on_ranks
from train.tiny import tiny_config

CPU = Site(device="cpu", num_threads=1)


@dataclass
class Reads(Monitor):
    """Counts the slides that this process has fingerprinted for the state of its stream."""

    num: int = 0
    before_first_step: int = 0

    def count_in(self, patched: pytest.MonkeyPatch) -> None:
        original = state._read_content

        def counted(entry: SlideEntry) -> str:
            self.num += 1
            return original(entry)

        patched.setattr(state, "_read_content", counted)

    def run_started(self, first_step: int, num_steps: int) -> None:
        self.before_first_step = self.num

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        return {}


def on_rank_of_two(rank: int) -> None:
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))


def test_slides_are_fingerprinted_by_one_process_before_the_first_step_and_never_again(
    tmp_path: Path, phantoms: list[Path]
):
    def on_rank(rank: int) -> tuple[int, int]:
        on_rank_of_two(rank)
        reads = Reads()
        with pytest.MonkeyPatch.context() as patched:
            reads.count_in(patched)
            config = tiny_config(steps=2, checkpoint_every_steps=1)
            train(config, phantoms, tmp_path, site=CPU, monitors=[reads])
        return reads.before_first_step, reads.num

    assert on_ranks(2, on_rank) == [(3, 3), (0, 0)]
    # One that goes on finds the stream by what the first has read.
    assert on_ranks(2, on_rank) == [(3, 3), (0, 0)]


def test_a_slide_whose_content_has_changed_is_refused_on_all_processes(
    tmp_path: Path, phantoms: list[Path]
):
    slides = [tmp_path / path.name for path in phantoms]
    for path, copy in zip(phantoms, slides, strict=True):
        copy.write_bytes(path.read_bytes())
    config = tiny_config(steps=2)
    train(config, slides, tmp_path / "run", site=CPU)
    slides[1].write_bytes(slides[1].read_bytes() + b"\0")

    def on_rank(rank: int) -> str:
        on_rank_of_two(rank)
        with pytest.raises(CheckpointError) as refused:
            train(config, slides, tmp_path / "run", site=CPU)
        return str(refused.value)

    told = f"of other slides: 1 changed in content ({slides[1].name})"
    assert all(told in error for error in on_ranks(2, on_rank))


def test_long_reading_of_fingerprints_is_told(
    tmp_path: Path,
    phantoms: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO)
    train(tiny_config(steps=1), phantoms, tmp_path / "quick", site=CPU)
    assert "fingerprints of" not in caplog.text
    monkeypatch.setattr(state, "_TELL_EVERY_S", 0.0)
    train(tiny_config(steps=1), phantoms, tmp_path / "slow", site=CPU)
    assert "fingerprints of 2 of 3 slides are read; an index (eosin scan)" in caplog.text


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["metrics.jsonl", "quarantine.json"])
def test_a_disk_that_is_full_for_the_first_process_ends_all_with_what_to_do(
    tmp_path: Path, phantoms: list[Path], name: str
):
    def on_rank(rank: int) -> str:
        on_rank_of_two(rank)
        original = loop._save

        def save(session: Session, num_done: int) -> None:
            with pytest.MonkeyPatch.context() as patched:
                if num_done == 2 and rank == 0 and name == "metrics.jsonl":
                    patched.setattr(os, "fsync", full)
                if num_done == 2 and rank == 0 and name == "quarantine.json":
                    patched.setattr("eosin.train.run_folder.write_atomic", full)
                session.quarantined["bad.svs"] = "no slide"
                original(session, num_done)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "_save", save)
            config = tiny_config(steps=3, checkpoint_every_steps=1)
            with pytest.raises(TrainingError) as ended:
                train(config, phantoms, tmp_path, site=CPU)
        return str(ended.value)

    for error in on_ranks(2, on_rank):
        assert f"cannot write {tmp_path / name} (" in error
        assert "No space left on device); free some space and start again" in error
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    assert newest.name == ("step_00000001" if name == "metrics.jsonl" else "step_00000002")
    train(tiny_config(steps=3, checkpoint_every_steps=1), phantoms, tmp_path, site=CPU)
    assert len(RunFolder(tmp_path).metrics()) == 3


def test_a_disk_that_is_full_at_the_end_does_not_hide_how_the_run_ended(
    tmp_path: Path,
    phantoms: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def stop(session: Session, *_: object) -> None:
        session.quarantined["bad.svs"] = "no slide"
        monkeypatch.setattr("eosin.train.run_folder.write_atomic", full)
        raise InterruptedRunError(step=3)

    monkeypatch.setattr(loop, "_run_steps", stop)
    with pytest.raises(InterruptedRunError):
        train(tiny_config(), phantoms, tmp_path, site=CPU)
    assert f"cannot write {tmp_path / 'quarantine.json'}" in caplog.text

"""A run that is killed from outside, again and again, must end as if it had never been."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eosin.train.run_folder import RunFolder
from train.test_loop import untimed

NUM_KILLS = 10
NUM_STEPS = 60
START_TIMEOUT_S = 120

SCRIPT = """
import sys
from pathlib import Path
import torch
from train.tiny import tiny_config
from eosin.train.loop import Site, train

torch.set_num_threads(1)
config = tiny_config(steps={steps}, checkpoint_every_steps=3)
train(config, sys.argv[2:], Path(sys.argv[1]), site=Site(device="cpu", num_threads=2))
"""


def start(run: Path, slides: list[Path]) -> subprocess.Popen:
    tests = Path(__file__).parent.parent
    path = os.pathsep.join([str(tests), str(tests.parent / "src")])
    script = SCRIPT.format(steps=NUM_STEPS)
    command = [sys.executable, "-c", script, str(run), *map(str, slides)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def num_lines(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def is_saving(run: Path) -> bool:
    return any((run / "checkpoints").glob(".step_*"))


def kill_at(process: subprocess.Popen, run: Path, moment: random.Random, *, in_save: bool) -> bool:
    """Kill when a few more steps are done, or when a save has begun; say whether it still ran."""
    target = num_lines(run) + moment.randint(1, 6)
    give_up = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < give_up:
        if num_lines(run) >= target and (not in_save or is_saving(run)):
            time.sleep(0 if in_save else moment.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0005)
    return process.wait(START_TIMEOUT_S) == -signal.SIGKILL


@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_no_trace_in_losses_and_samples(
    tmp_path: Path, phantoms: list[Path]
):
    moment = random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, phantoms).wait(START_TIMEOUT_S) == 0
    num_killed = num_in_save = 0
    for kill in range(NUM_KILLS):
        num_killed += kill_at(start(killed, phantoms), killed, moment, in_save=kill % 2 == 1)
        num_in_save += is_saving(killed)
    assert num_killed == NUM_KILLS
    # A save that was cut short has left its half-written folder.
    assert num_in_save >= 1
    assert start(killed, phantoms).wait(START_TIMEOUT_S) == 0
    expected, found = untimed(RunFolder(whole)), untimed(RunFolder(killed))
    assert [record["step"] for record in found] == list(range(NUM_STEPS))
    assert found == expected

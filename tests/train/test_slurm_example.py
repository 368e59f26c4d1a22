"""The batch script, with an `srun` and a `scontrol` that are not Slurm's."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "train.sbatch"
TIMEOUT_S = 300

SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then printf 'node1\\nnode2\\n'; else echo "$@" >> "$FOLDER/scontrol"; fi
"""

# Runs until it is told to stop, and takes a moment to save.
SRUN_THAT_SAVES = """#!/bin/bash
trap 'echo USR1 >> "$FOLDER/signals"; sleep 0.2; exit 75' USR1
touch "$FOLDER/started"
while true; do sleep 0.02; done
"""

SRUN_THAT_RUNS_THE_STEP = """#!/bin/bash
export SLURM_PROCID=5 SLURM_LOCALID=1 SLURM_NTASKS=8 SLURM_NTASKS_PER_NODE=4
[ "$1 $2 $3" = "--kill-on-bad-exit=0 --wait=60 --cpus-per-task=12" ] || exit 9
shift 3
exec "$@"
"""

PYTHON = """#!/bin/bash
ranks="$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE"
echo "$ranks $MASTER_ADDR $MASTER_PORT" > "$FOLDER/environment"
printf '%s\\n' "$@" > "$FOLDER/arguments"
"""


def start(folder: Path, *arguments: str, **programs: str) -> subprocess.Popen[bytes]:
    for name, text in {"scontrol": SCONTROL, **programs}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "FOLDER": str(folder / "seen"),
        "SLURM_JOB_ID": "20001",
        "SLURM_CPUS_PER_TASK": "12",
        "SLURM_JOB_NODELIST": "node[1-2]",
    }
    (folder / "seen").mkdir()
    return subprocess.Popen(["bash", str(SCRIPT), *arguments], env=environment)


def seen(folder: Path, name: str) -> str | None:
    file = folder / "seen" / name
    return file.read_text() if file.exists() else None


def wait_for(folder: Path, name: str) -> None:
    give_up = time.monotonic() + TIMEOUT_S
    while seen(folder, name) is None:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_bash_can_read_the_script():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0


def test_a_step_that_ends_well_is_the_end_of_the_job(tmp_path: Path):
    assert start(tmp_path, srun="#!/bin/bash\nexit 0\n").wait(TIMEOUT_S) == 0
    assert seen(tmp_path, "scontrol") is None


@pytest.mark.parametrize("code", [1, 2, 137, 138, 143])
def test_a_step_that_fails_is_not_begun_again(tmp_path: Path, code: int):
    assert start(tmp_path, srun=f"#!/bin/bash\nexit {code}\n").wait(TIMEOUT_S) == code
    assert seen(tmp_path, "scontrol") is None


def saves_after(folder: Path, *signals: signal.Signals) -> None:
    script = start(folder, srun=SRUN_THAT_SAVES)
    wait_for(folder, "started")
    for number in signals:
        script.send_signal(number)
        wait_for(folder, "signals")
    assert script.wait(TIMEOUT_S) == 75
    # The real srun kills its processes when it gets SIGTERM.
    assert set((seen(folder, "signals") or "").splitlines()) == {"USR1"}


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGUSR1],
        [signal.SIGUSR1] * 2,
        [signal.SIGUSR1, signal.SIGTERM],  # a step that takes until the limit itself
    ],
)
def test_at_the_time_limit_the_step_saves_and_the_job_is_queued_again(
    tmp_path: Path, signals: list[signal.Signals]
):
    saves_after(tmp_path, *signals)
    assert seen(tmp_path, "scontrol") == "requeue 20001\n"


def test_a_job_that_is_cancelled_saves_and_stays_cancelled(tmp_path: Path):
    saves_after(tmp_path, signal.SIGTERM)
    assert seen(tmp_path, "scontrol") is None


def test_a_step_that_was_stopped_without_the_script_is_not_begun_again(tmp_path: Path):
    assert start(tmp_path, srun="#!/bin/bash\nexit 75\n").wait(TIMEOUT_S) == 75
    assert seen(tmp_path, "scontrol") is None


@pytest.mark.parametrize(
    ("sent", "queued"), [(signal.SIGUSR1, "requeue 20001\n"), (signal.SIGTERM, None)]
)
@pytest.mark.parametrize(("signal_of_step", "code"), [("USR1", 138), ("TERM", 143)])
def test_a_step_that_ends_before_it_can_save_is_begun_again_at_the_time_limit_alone(
    tmp_path: Path, signal_of_step: str, code: int, sent: signal.Signals, queued: str | None
):
    dies = f"""#!/bin/bash
trap 'trap - USR1; kill -{signal_of_step} $$' USR1
touch "$FOLDER/started"
while true; do sleep 0.02; done
"""
    script = start(tmp_path, srun=dies)
    wait_for(tmp_path, "started")
    script.send_signal(sent)
    assert script.wait(TIMEOUT_S) == code
    assert seen(tmp_path, "scontrol") == queued


def test_every_process_learns_its_rank_and_gets_the_arguments_as_they_were_given(tmp_path: Path):
    script = start(
        tmp_path,
        "nano_cpu",
        "/data/my slides",
        "--out-dir",
        "runs/a",
        srun=SRUN_THAT_RUNS_THE_STEP,
        python=PYTHON,
    )
    assert script.wait(TIMEOUT_S) == 0
    assert seen(tmp_path, "environment") == "5 1 8 4 node1 20001\n"
    expected = ["-m", "eosin", "train", "nano_cpu", "/data/my slides", "--out-dir", "runs/a"]
    assert (seen(tmp_path, "arguments") or "").splitlines() == expected

"""How fast a run is, what it waits for, how near it comes to the best its machine can do."""

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, final

import torch

from eosin.train.config import TrainConfig
from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.features import device_of, present_world
from eosin.watch.flops import step_flops
from eosin.watch.matrix_rate import matrix_rate

WINDOW_STEPS = 50
"""Steps that numbers are means of, so that no single checkpoint or slow slide stands out."""

GIB = 2**30


class _Interval(NamedTuple):
    wall_s: float
    """From the end of the step before to the end of this one."""
    wait_s: float


@final
class Throughput(Monitor):
    """Measures the last `WINDOW_STEPS` steps together.

    Between two steps are also checkpoints and looks of other monitors, so that nothing that costs
    time is left out. The first step, in which kernels are chosen and slides opened, is.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._step_flops = step_flops(config)
        self._intervals: deque[_Interval] = deque(maxlen=WINDOW_STEPS)
        self._last_end: float | None = None
        self._best_rate = 0.0

    def run_started(self, first_step: int, num_steps: int) -> None:
        self._intervals.clear()
        self._last_end = None

    def step_done(
        self, step: int, metrics: Mapping[str, float | int], model: StudentTeacher
    ) -> Mapping[str, float | int]:
        device = device_of(model)
        # Measured again and again, since at any one time others may have kept the machine busy.
        if not self._best_rate or step % WINDOW_STEPS == 0:
            is_bfloat16 = model.config.precision == "bfloat16"
            rate = matrix_rate(device, torch.bfloat16 if is_bfloat16 else torch.float32)
            self._best_rate = max(self._best_rate, rate)
        now = time.perf_counter()
        if self._last_end is not None:
            self._intervals.append(
                _Interval(now - self._last_end, wait_s=float(metrics["data_wait_s"]))
            )
        self._last_end = now
        return self._speeds(self._best_rate, device) | _memory(device)

    def _speeds(self, best_rate: float, device: torch.device) -> dict[str, float]:
        if not self._intervals:
            return {}
        wall_s = sum(interval.wall_s for interval in self._intervals)
        step_s = wall_s / len(self._intervals)
        floor_s = self._step_flops / present_world(device).size / best_rate
        return {
            "watch_patches_per_s": self._config.global_batch / step_s,
            "watch_wall_step_s": step_s,
            "watch_wait_share": sum(interval.wait_s for interval in self._intervals) / wall_s,
            "watch_floor_share": floor_s / step_s,
        }


def _memory(device: torch.device) -> dict[str, float]:
    memory = {}
    resident = _resident_bytes()
    if resident is not None:
        memory["watch_rss_gib"] = resident / GIB
    if device.type == "cuda":
        memory["watch_cuda_peak_gib"] = torch.cuda.max_memory_allocated(device) / GIB
    return memory


def _resident_bytes() -> int | None:
    """Return the memory that the process holds at this moment; None where Linux does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = status.read_text().splitlines()
    kib = next((line.split()[1] for line in lines if line.startswith("VmRSS:")), None)
    return None if kib is None else int(kib) * 1024

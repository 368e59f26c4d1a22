import gc
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from eosin.watch import matrix_rate as matrix_rate_module
from eosin.watch import throughput
from eosin.watch.flops import step_flops
from eosin.watch.matrix_rate import datasheet_rate, matrix_rate, measured_rate
from eosin.watch.throughput import WINDOW_STEPS, Throughput
from train.tiny import tiny_config
from watch.monitor_contract import METRICS, MonitorContract

CONFIG = replace(tiny_config(), global_batch=8)
RATE = 1e9


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throughput, "time", clock)
    monkeypatch.setattr(throughput, "matrix_rate", lambda device, dtype: RATE)
    return clock


@pytest.fixture(scope="module")
def model() -> StudentTeacher:
    return StudentTeacher(CONFIG)


class TestThroughput(MonitorContract):
    @pytest.fixture
    def monitor(self) -> Monitor:
        return Throughput(CONFIG)


def test_speed_is_from_step_to_step_with_all_that_lies_between(clock: Clock, model: StudentTeacher):
    monitor = Throughput(CONFIG)
    monitor.run_started(0, 10)
    assert "watch_patches_per_s" not in monitor.step_done(0, METRICS, model)
    for passed_s in (2.0, 6.0):
        clock.now_s += passed_s
        seen = monitor.step_done(1, {**METRICS, "data_wait_s": 1.0}, model)
    assert seen["watch_wall_step_s"] == pytest.approx(4.0)
    assert seen["watch_patches_per_s"] == pytest.approx(8 / 4.0)
    assert seen["watch_wait_share"] == pytest.approx(2 / 8)
    assert seen["watch_floor_share"] == pytest.approx(step_flops(CONFIG) / RATE / 4.0)


def test_old_steps_leave_the_window(clock: Clock, model: StudentTeacher):
    monitor = Throughput(CONFIG)
    monitor.run_started(0, 10)
    for step in range(2 * WINDOW_STEPS + 1):
        clock.now_s += 1.0 if step <= WINDOW_STEPS else 3.0
        seen = monitor.step_done(step, METRICS, model)
    assert seen["watch_wall_step_s"] == pytest.approx(3.0)


def test_memory_is_that_of_the_process(clock: Clock, model: StudentTeacher):
    monitor = Throughput(CONFIG)
    monitor.run_started(0, 10)
    gc.collect()  # or what earlier tests left would go in between
    before = monitor.step_done(0, METRICS, model)["watch_rss_gib"]
    held = torch.ones(2**26)
    clock.now_s += 1
    after = monitor.step_done(1, METRICS, model)["watch_rss_gib"]
    assert after - before == pytest.approx(held.numel() * 4 / 2**30, abs=0.1)


def test_the_measured_rate_is_that_of_the_best_product_but_the_first(
    monkeypatch: pytest.MonkeyPatch,
):
    ticks_s = iter([0.0, 0.1, 1.0, 5.0, 6.0, 8.0, 9.0, 12.0, 20.0, 24.0, 30.0, 33.0])
    monkeypatch.setattr(
        matrix_rate_module, "time", SimpleNamespace(perf_counter=lambda: next(ticks_s))
    )
    assert measured_rate(torch.device("cpu"), torch.float32, side=10) == 2 * 10**3 / 2.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cpu_has_a_rate(dtype: torch.dtype):
    assert matrix_rate(torch.device("cpu"), dtype) > 1e6


def test_known_gpus_are_found_by_whole_words_of_their_names():
    assert datasheet_rate("NVIDIA H100 80GB HBM3") == 989e12
    assert datasheet_rate("NVIDIA H100 PCIe") == 756e12
    assert datasheet_rate("NVIDIA H200") == 989e12
    assert datasheet_rate("NVIDIA H200 NVL") == 835e12
    assert datasheet_rate("NVIDIA A100-SXM4-80GB") == 312e12
    assert datasheet_rate("NVIDIA L4") == 121e12
    assert datasheet_rate("NVIDIA L40S") == 362e12
    assert datasheet_rate("NVIDIA GeForce RTX 4090") == 165e12
    assert datasheet_rate("NVIDIA GeForce GTX 1080") is None


def test_the_best_rate_of_the_machine_is_looked_for_again_and_only_rises(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, model: StudentTeacher
):
    rates = iter([RATE, 4 * RATE, 2 * RATE])
    monkeypatch.setattr(throughput, "matrix_rate", lambda device, dtype: next(rates))
    monitor = Throughput(CONFIG)
    shares = []
    for step in (0, 1, WINDOW_STEPS, 2 * WINDOW_STEPS):
        shares.append(monitor.step_done(step, METRICS, model).get("watch_floor_share"))
        clock.now_s += 10.0
    _, first, second, third = shares
    assert first is not None
    assert second == pytest.approx(first / 4)
    assert third == pytest.approx(second)

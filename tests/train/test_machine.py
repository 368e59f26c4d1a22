import os
from types import SimpleNamespace

import pytest
import torch

from eosin.recipes import recipe_config
from eosin.train.machine import memory_gib, warnings_for
from eosin.train.memory import GIB, estimate_memory

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def machine_of(monkeypatch: pytest.MonkeyPatch, num_gib: float) -> None:
    """Let the CPU and any GPU have so much memory."""
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": int(num_gib * GIB) // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    properties = SimpleNamespace(total_memory=int(num_gib * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_a_run_that_needs_more_than_the_device_has_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
):
    memory = estimate_memory(recipe_config("midnight12k"), num_devices=8)
    machine_of(monkeypatch, 24)
    (said,) = warnings_for(memory, device, preset=None)
    assert f"needs {memory.total:.1f} GiB" in said
    assert f"{device} has 24.0 GiB" in said
    assert "--preset (cpu, gpu12," in said
    machine_of(monkeypatch, memory.total + 1)
    assert list(warnings_for(memory, device, preset=None)) == []


def test_a_gpus_preset_without_a_gpu_is_warned_of(monkeypatch: pytest.MonkeyPatch):
    machine_of(monkeypatch, 1000)
    memory = estimate_memory(recipe_config("nano_cpu"))
    (said,) = warnings_for(memory, CPU, preset="gpu24")
    assert "--preset gpu24 is for a GPU, and this run is on cpu" in said
    assert list(warnings_for(memory, CPU, preset="cpu")) == []
    assert list(warnings_for(memory, GPU, preset="gpu24")) == []


def test_processes_on_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch):
    machine_of(monkeypatch, 64)
    assert memory_gib(CPU) == 64
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_gib(CPU) == 16
    assert memory_gib(GPU) == 64


def test_a_system_that_does_not_say_its_memory_gives_no_warning(monkeypatch: pytest.MonkeyPatch):
    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    memory = estimate_memory(recipe_config("midnight12k"))
    assert list(warnings_for(memory, CPU, preset=None)) == []

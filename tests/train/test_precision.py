from pathlib import Path

import pytest
import torch

from eosin.train.precision import fast_bfloat16

CPU = torch.device("cpu")
CPUINFO = Path("/proc/cpuinfo")


def pretend(monkeypatch: pytest.MonkeyPatch, *, avx512_bf16: bool, amx: bool, onednn: bool):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)


@pytest.mark.parametrize(("avx512_bf16", "amx"), [(True, False), (False, True), (True, True)])
def test_either_instruction_set_makes_bfloat16_fast(
    monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, amx: bool
):
    pretend(monkeypatch, avx512_bf16=avx512_bf16, amx=amx, onednn=True)
    assert fast_bfloat16(CPU)


@pytest.mark.parametrize(("avx512_bf16", "onednn"), [(False, True), (True, False), (False, False)])
def test_without_instructions_or_the_library_that_uses_them_it_is_not(
    monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, onednn: bool
):
    pretend(monkeypatch, avx512_bf16=avx512_bf16, amx=False, onednn=onednn)
    assert not fast_bfloat16(CPU)


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux lists its CPU's flags there")
def test_it_is_what_the_kernel_says_of_this_machine():
    flags = CPUINFO.read_text().split()
    says = "avx512_bf16" in flags or "amx_tile" in flags
    assert fast_bfloat16(CPU) == (says and torch.backends.mkldnn.is_available())


@pytest.mark.parametrize("is_native", [False, True])
def test_a_gpu_that_only_emulates_it_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, is_native: bool
):
    asked: list[tuple[torch.device, bool]] = []
    entered: list[torch.device] = []

    class Entered:
        def __init__(self, device: torch.device):
            self.device = device

        def __enter__(self):
            entered.append(self.device)

        def __exit__(self, *exception: object):
            entered.pop()

    def is_bf16_supported(*, including_emulation: bool) -> bool:
        asked.append((entered[-1], including_emulation))
        return is_native

    monkeypatch.setattr(torch.cuda, "device", Entered)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    device = torch.device("cuda:1")
    assert fast_bfloat16(device) == is_native
    assert asked == [(device, False)]


def test_other_devices_stay_with_float32():
    assert not fast_bfloat16(torch.device("meta"))

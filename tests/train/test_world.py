"""How processes join, and how they part when one of them fails."""

import pytest
import torch
from torch import distributed

from eosin.errors import InterruptedRunError, StreamStalledError
from eosin.stream.watch import Patience
from eosin.train import world
from eosin.train.world import joined_world, own_device


def test_ranks_wait_longer_for_each_other_than_a_stream_waits_for_a_slide():
    """Else all say that they waited in vain, and none which slide hangs."""
    assert world._TIMEOUT.total_seconds() >= 2 * Patience().timeout_s


def test_each_process_touches_the_gpu_of_its_local_rank_alone(monkeypatch: pytest.MonkeyPatch):
    """A look at another one would take half a gigabyte of its memory, from every process."""
    touched = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda size, device: touched.append(device))
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "5")
    assert own_device("auto") == torch.device("cuda:5")
    assert touched == ["cuda:5"]
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert own_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "error", "says_goodbye"),
    [
        ("cuda", None, True),
        ("cuda", InterruptedRunError(step=3), True),
        ("cuda", StreamStalledError("one rank has no slide left"), False),
        ("cpu", StreamStalledError("one rank has no slide left"), True),
    ],
)
def test_a_gpu_that_fails_alone_does_not_wait_for_the_others_to_leave_with_it(
    monkeypatch: pytest.MonkeyPatch, device: str, error: Exception | None, says_goodbye: bool
):
    """Played without GPUs: what NCCL's goodbye waits for cannot be had here."""
    goodbyes = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(world, "torch_device", lambda name, local_rank=None: torch.device(name))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(world, "init_device_mesh", lambda *args, **settings: None)
    monkeypatch.setattr(distributed, "is_initialized", lambda: False)
    monkeypatch.setattr(distributed, "init_process_group", lambda *args, **settings: None)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: goodbyes.append(True))
    caught = None
    try:
        with joined_world(device):
            if error is not None:
                raise error
    except (InterruptedRunError, StreamStalledError) as raised:
        caught = raised
    assert caught is error
    assert bool(goodbyes) is says_goodbye

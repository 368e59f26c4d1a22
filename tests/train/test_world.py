"""How processes join, and how they part when one of them fails."""

import pytest
import torch
from torch import distributed

from eosin.errors import ConfigError, InterruptedRunError, StreamStalledError
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


def as_a_process_of_several(
    monkeypatch: pytest.MonkeyPatch, *, local_rank: int, num_local: int | None, num_gpus: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch, "empty", lambda size, device: None)
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    if num_local is None:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(num_local))


@pytest.mark.parametrize(("local_rank", "num_local"), [(0, 4), (3, 4), (3, None)])
def test_one_gpu_of_several_for_all_processes_of_a_node_is_refused(
    monkeypatch: pytest.MonkeyPatch, local_rank: int, num_local: int | None
):
    """Slurm says no number of local processes, but the second of them knows that there are two."""
    as_a_process_of_several(monkeypatch, local_rank=local_rank, num_local=num_local, num_gpus=4)
    with pytest.raises(ConfigError, match=r"device='cuda:1' would put the 4 .*; say --device cuda"):
        own_device("cuda:1")
    assert own_device("cuda") == torch.device("cuda", local_rank)


def test_one_process_on_each_node_may_choose_its_gpu(monkeypatch: pytest.MonkeyPatch):
    as_a_process_of_several(monkeypatch, local_rank=0, num_local=1, num_gpus=4)
    assert own_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_process_that_sees_one_gpu_takes_it_whatever_its_local_rank(
    monkeypatch: pytest.MonkeyPatch, name: str
):
    as_a_process_of_several(monkeypatch, local_rank=3, num_local=4, num_gpus=1)
    assert own_device(name) == torch.device("cuda:0")


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

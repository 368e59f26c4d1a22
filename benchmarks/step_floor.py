"""The time of the products alone, at the rate that this machine reaches on large ones."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

SIDE = {"cpu": 2048, "cuda": 8192}
NUM_PRODUCTS = 16
"""One after another, so that cores that were idle before are awake for most of them."""


def attention_flops(query: tuple[int, ...], key: tuple[int, ...], *_: object, **__: object) -> int:
    """Count two products, as torch does for its attention on a GPU, but not for that on a CPU."""
    batch, heads, tokens, channels = query
    return 2 * 2 * batch * heads * tokens * key[2] * channels


def attention_backward_flops(_: object, *shapes: tuple[int, ...], **__: object) -> int:
    return 2 * attention_flops(*shapes)


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


def count_flops(action: Callable[[], object]) -> int:
    """Return the floating-point operations of the matrix products of an action, which runs once."""
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        action()
    return counter.get_total_flops()


class LargeProducts:
    """Squares of a matrix that needs no cache but what products are cut for."""

    def __init__(self, dtype: torch.dtype, device: str = "cpu"):
        self.device = device
        self.a = torch.randn(SIDE[device], SIDE[device], device=device).to(dtype)
        self.flops = NUM_PRODUCTS * 2 * SIDE[device] ** 3

    def step(self, _: object = None) -> None:
        for _ in range(NUM_PRODUCTS):
            self.a @ self.a


def seconds(action: Callable[[], object], device: str) -> tuple[float, float]:
    """Return seconds of the clock, and of all cores of this process together."""
    if device == "cuda":
        torch.cuda.synchronize()
    start, start_cpu = time.perf_counter(), time.process_time()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - start_cpu

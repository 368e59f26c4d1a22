"""One training step of the nano model on random crops, against the floor of its matrix products.

.venv/bin/python benchmarks/bench_step.py [cpu|cuda]
"""

import statistics
import sys
import time
from dataclasses import replace

import torch
from machine import describe_machine
from torch.utils.flop_counter import FlopCounterMode

from eosin.recipes import nano_cpu
from eosin.train.config import TrainConfig
from eosin.train.loop import initial_model, make_optimizer

NUM_STEPS = 7


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def step_s(config: TrainConfig, device: torch.device) -> tuple[float, int]:
    """Return the median seconds and the floating-point operations of a step, data not included."""
    model = initial_model(config).to(device)
    optimizer = make_optimizer(model, config)
    batch, grid = config.global_batch, config.data.global_px // config.model.patch_size
    global_crops = torch.randn(
        2 * batch, 3, config.data.global_px, config.data.global_px, device=device
    )
    px = config.data.crop_size("local")
    local_crops = torch.randn(config.data.num_local * batch, 3, px, px, device=device)
    masks = torch.zeros(2 * batch, grid**2, dtype=torch.bool, device=device)
    masks[::2, : grid**2 // 3] = True

    def step() -> None:
        is_bf16 = config.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            terms, _ = model.losses(global_crops, local_crops, masks, 0.05)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.update_teacher(0.99)

    with FlopCounterMode(display=False) as counter:
        step()
    durations = []
    for _ in range(NUM_STEPS):
        synchronize(device)
        start = time.perf_counter()
        step()
        synchronize(device)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations), counter.get_total_flops()


def matmul_flops_per_s(dtype: torch.dtype, device: torch.device) -> float:
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device).to(dtype)
    durations = []
    for _ in range(NUM_STEPS):
        synchronize(device)
        start = time.perf_counter()
        a @ a
        synchronize(device)
        durations.append(time.perf_counter() - start)
    return 2 * side**3 / min(durations)


def main() -> None:
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(describe_machine())
    print("\n| precision | samples/s | GFLOP/s of the step | matrix product | share |")
    print("|---|---|---|---|---|")
    config = nano_cpu.config()
    for precision in ("float32", "bfloat16"):
        seconds, flops = step_s(replace(config, precision=precision), device)
        floor = matmul_flops_per_s(getattr(torch, precision), device)
        rate = flops / seconds
        print(
            f"| {precision} | {config.global_batch / seconds:.0f} | {rate / 1e9:.0f} | "
            f"{floor / 1e9:.0f} | {rate / floor:.2f} |"
        )


if __name__ == "__main__":
    main()

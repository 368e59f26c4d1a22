"""The step on a GPU: share of the peak (MFU), and peak memory against its estimate."""

import statistics

import torch
from step_eosin import EosinStep
from step_floor import LargeProducts, count_flops, seconds
from step_inputs import random_batch, step_config

from eosin.train.memory import estimate_memory

SIZES = {"small": 128, "large": 32, "giant2": 12}
"""Batch of each size; what 80 GB hold, and less."""
NUM_PROTOTYPES = 131072
NUM_WARMUP = 3
NUM_STEPS = 10
GIB = 2**30


def bench_gpu() -> None:
    """Print a table, or why there is none."""
    if not torch.cuda.is_available():
        print("\nNo GPU is here; torch.cuda.is_available() is False. Nothing was measured.")
        return
    products = LargeProducts(torch.bfloat16, "cuda")
    products.step()
    large = products.flops / min(seconds(products.step, "cuda")[0] for _ in range(NUM_STEPS))
    print(f"\n{torch.cuda.get_device_name()}, large products: {large / 1e12:.0f} TFLOP/s\n")
    print("| model | batch | samples/s | TFLOP/s | of large products | peak GiB | estimated |")
    print("|---|---|---|---|---|---|---|")
    for size, batch in SIZES.items():
        for compiles in (False, True):
            print(row(size, batch, large, compiles=compiles), flush=True)


def row(size: str, batch: int, large: float, *, compiles: bool) -> str:
    """Measure one size and return its line of the table."""
    config = step_config(size, batch=batch, num_prototypes=NUM_PROTOTYPES, precision="bfloat16")
    inputs = random_batch(config)
    plain = EosinStep(config, device="cuda")
    flops = count_flops(lambda: plain.step(inputs))
    contender = EosinStep(config, device="cuda", compiles=True) if compiles else plain
    del plain
    for _ in range(NUM_WARMUP):
        contender.step(inputs)
    torch.cuda.reset_peak_memory_stats()
    spent = statistics.median(
        seconds(lambda: contender.step(inputs), "cuda")[0] for _ in range(NUM_STEPS)
    )
    peak = torch.cuda.max_memory_allocated() / GIB
    estimated = estimate_memory(config).tensors
    del contender
    torch.cuda.empty_cache()
    rate = flops / spent
    name = f"{size}, compiled" if compiles else size
    return (
        f"| {name} | {batch} | {batch / spent:.1f} | {rate / 1e12:.0f} | {rate / large:.2f} "
        f"| {peak:.1f} | {estimated:.1f} ({estimated / peak - 1:+.0%}) |"
    )

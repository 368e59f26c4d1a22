"""Training steps against the same step written plainly, and against their matrix products alone.

.venv/bin/python benchmarks/bench_step.py [--threads 1] [--batch 16] [--rounds 5] [--compile]
.venv/bin/python benchmarks/bench_step.py --device cuda

On a CPU: ViT-S/14, crops of 2 x 224 and 8 x 98 px, heads of 8,192 prototypes, stochastic depth of
0.1. Each contender is a process of its own; they take turns, and medians are told. The plain step
needs transformers (pip install "eosin[train]" transformers). On a GPU: ViT-S, L and g in bfloat16.
"""

import argparse
import multiprocessing
import os
import statistics
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection

import torch
from machine import describe_machine
from step_eosin import EosinStep
from step_floor import LargeProducts, count_flops, seconds
from step_gpu import bench_gpu
from step_inputs import random_batch, step_config

from eosin.train.pages import kept_pages

NUM_PROTOTYPES = 8192
PRECISIONS = ("float32", "bfloat16")
KEEP_PAGES = ("eosin", "compiled")
"""Contenders whose process keeps the memory that it frees."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one contender."""

    flops: int
    terms: dict[str, float]
    wall_s: list[float]
    cpu_s: list[float]


def contend(name: str, batch: int, num_threads: int, pipe: Connection) -> None:
    """Do a step whenever asked, and say how long it took; runs in a process of its own."""
    torch.set_num_threads(num_threads)
    kind, precision = name.split()
    terms: dict[str, float] = {}
    inputs = None
    if kind == "products":
        contender = LargeProducts(getattr(torch, precision))
    else:
        config = step_config(
            "small", batch=batch, num_prototypes=NUM_PROTOTYPES, precision=precision
        )
        inputs = random_batch(config)
        if kind == "plain":
            from step_plain import PlainStep  # noqa: PLC0415 - transformers may not be here

            contender = PlainStep(config)
        else:
            contender = EosinStep(config, compiles=kind == "compiled")
        terms = contender.terms(inputs)
    # As in eosin's `train`.
    with kept_pages(torch.device("cpu")) if kind in KEEP_PAGES else nullcontext():
        flops = count_flops(lambda: contender.step(inputs))
        pipe.send((flops, terms))
        while pipe.recv():
            pipe.send(seconds(lambda: contender.step(inputs), "cpu"))


def measure(names: list[str], batch: int, num_threads: int, num_rounds: int) -> dict[str, Measured]:
    """Let all contenders take turns."""
    # Idle threads of one contender must not keep the cores that another needs.
    os.environ |= {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(num_threads)}
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    measured: dict[str, Measured] = {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        context.Process(
            target=contend, args=(name, batch, num_threads, theirs), daemon=True
        ).start()
        # So that a contender that dies is an error here, and not waited for.
        theirs.close()
        flops, terms = pipes[name].recv()
        measured[name] = Measured(flops=flops, terms=terms, wall_s=[], cpu_s=[])
    for _ in range(num_rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            wall_s, cpu_s = pipe.recv()
            measured[name].wall_s.append(wall_s)
            measured[name].cpu_s.append(cpu_s)
    for pipe in pipes.values():
        pipe.send(False)
    return measured


def print_speed(measured: dict[str, Measured], batch: int, clock: str) -> None:
    spent = {
        name: statistics.median(found.wall_s if clock == "wall" else found.cpu_s)
        for name, found in measured.items()
    }
    print("| step | samples/s | GFLOP of a sample | GFLOP/s | of large products | times plain |")
    print("|---|---|---|---|---|---|")
    for name, found in measured.items():
        kind, precision = name.split()
        if kind == "products":
            continue
        large = f"products {precision}"
        rate, floor = found.flops / spent[name], measured[large].flops / spent[large]
        plain = f"{spent['plain float32'] / spent[name]:.2f}" if "plain float32" in spent else "-"
        print(
            f"| {kind}, {precision} | {batch / spent[name]:.2f} | {found.flops / batch / 1e9:.1f} "
            f"| {rate / 1e9:.0f} | {rate / floor:.2f} of {floor / 1e9:.0f} | {plain} |"
        )
    ratio = spent["eosin float32"] / spent["eosin bfloat16"]
    print(f"\nbfloat16 is {ratio:.2f} times as fast as float32.")


def print_terms(measured: dict[str, Measured]) -> None:
    steps = {name: found.terms for name, found in measured.items() if found.terms}
    print(f"\n| loss, no stochastic depth | {' | '.join(steps)} |")
    print("|---" * (1 + len(steps)) + "|")
    for term in steps["eosin float32"]:
        print(f"| {term} | {' | '.join(f'{terms[term]:.5f}' for terms in steps.values())} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="blocks by torch.compile as well")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu counts the time of this process's cores, for machines that do other work",
    )
    arguments = parser.parse_args()
    print(describe_machine())
    if arguments.device == "cuda":
        bench_gpu()
        return
    names = [f"products {precision}" for precision in PRECISIONS]
    names += [f"eosin {precision}" for precision in PRECISIONS]
    if arguments.compile:
        names += [f"compiled {precision}" for precision in PRECISIONS]
    if find_spec("transformers"):
        names += ["plain float32"]
    else:
        print("\nNo transformers here, so no plain step: pip install transformers")
    print(f"\nBatch {arguments.batch}, {arguments.threads} thread(s), {arguments.clock} time.\n")
    measured = measure(names, arguments.batch, arguments.threads, arguments.rounds)
    print_speed(measured, arguments.batch, arguments.clock)
    print_terms(measured)


if __name__ == "__main__":
    main()

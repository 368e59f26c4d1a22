"""What only a GPU can show; skipped where there is none."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eosin.loader import Batch
from eosin.models.config import HeadConfig, vit_config
from eosin.recipes import vits_1gpu
from eosin.train.config import TrainConfig
from eosin.train.loop import train
from eosin.train.memory import GIB, estimate_memory
from eosin.train.parallel import lay_out
from eosin.train.rates import RateSchedules
from eosin.train.run_folder import RunFolder
from eosin.train.site import Layout, Site
from eosin.train.step import initial_model, make_optimizer, train_step
from eosin.train.world import World
from train.runs import copy_stopped_at
from train.tiny import tiny_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

LAYOUTS = [Layout(), Layout(recompute_blocks=True), Layout(compile_blocks=True)]

SCRIPT = """
import sys
from pathlib import Path
from train.test_gpu import without_drops
from eosin.train.loop import train
from eosin.train.site import Site
train(without_drops(), sys.argv[2:], Path(sys.argv[1]), site=Site(device="cuda"))
"""


def without_drops() -> TrainConfig:
    """Return a run that is the same for every layout."""
    config = tiny_config(steps=3)
    return replace(config, model=replace(config.model, drop_path_rate=0.0))


def vit_small(batch: int) -> TrainConfig:
    config = vits_1gpu.config()
    return replace(
        config,
        # LayerScale from 1, so that what blocks compute is seen in the losses.
        model=vit_config("small", num_registers=4, drop_path_rate=0.1, layerscale_init=1.0),
        dino_head=HeadConfig(num_prototypes=8192),
        ibot_head=HeadConfig(num_prototypes=8192),
        global_batch=batch,
        data=replace(config.data, num_lanes=batch),
        precision="bfloat16",
        start="random",
    )


def random_batch(config: TrainConfig) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def crops(number: int, side: int) -> torch.Tensor:
        shape = (number, side, side, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    num, side = config.global_batch, config.data.global_px
    grid = side // config.model.patch_size
    drawn = config.masking.draw(0, 0, range(2 * num), num_crops=2 * num, grid=(grid, grid))
    masks = torch.from_numpy(drawn)
    return Batch(
        step=0,
        part=0,
        samples=(),
        global_crops=crops(2 * num, side),
        local_crops=crops(config.data.num_local * num, config.data.crop_size("local")),
        masks=masks,
        hidden=masks.flatten().nonzero().squeeze(1),
    )


def steps_on_gpu(config: TrainConfig, layout: Layout, num: int) -> list[dict[str, float]]:
    world = World(device=torch.device("cuda"))
    model = initial_model(config)
    lay_out(model, world, layout, is_bfloat16=True)
    model.to(world.device)
    optimizer = make_optimizer(model, config)
    rates = RateSchedules(config).at(config.optim.warmup_steps)
    batch = random_batch(config)
    return [train_step(model, optimizer, [batch], rates, world) for _ in range(num)]


@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimate_of_the_memory_is_within_a_tenth_of_the_peak(recompute: bool):
    config = vit_small(batch=32)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    steps_on_gpu(config, Layout(recompute_blocks=recompute), num=2)
    peak_gib = torch.cuda.max_memory_allocated() / GIB
    estimate = estimate_memory(config, recompute=recompute)
    assert estimate.tensors == pytest.approx(peak_gib, rel=0.1)


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_recomputed_and_compiled_blocks_give_the_same_losses(layout: Layout):
    config = vit_small(batch=8)
    plain = steps_on_gpu(config, Layout(), num=2)
    laid_out = steps_on_gpu(config, layout, num=2)
    for name in ("loss", "grad_norm_backbone"):
        expected = [step[name] for step in plain]
        assert [step[name] for step in laid_out] == pytest.approx(expected, rel=2e-2), name


def test_bfloat16_is_what_auto_takes_on_a_gpu(tmp_path: Path, phantoms: list[Path]):
    config = tiny_config(steps=2, precision="auto")
    train(config, phantoms, tmp_path, site=Site(device="cuda"))
    is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    expected = "bfloat16" if is_fast else "float32"
    assert RunFolder(tmp_path).train_config.precision == expected


def test_a_run_that_goes_on_has_the_same_samples_and_nearly_the_same_losses(
    tmp_path: Path, phantoms: list[Path]
):
    config = tiny_config(steps=4, checkpoint_every_steps=2)
    whole = train(config, phantoms, tmp_path / "whole", site=Site(device="cuda"))
    copy_stopped_at(2, whole.path, tmp_path / "stopped")
    again = train(config, phantoms, tmp_path / "stopped", site=Site(device="cuda"))
    records, others = whole.metrics(), again.metrics()
    for name in ("step", "first_sample", "places_sum"):
        assert [one[name] for one in others] == [one[name] for one in records]
    # Not to the last bit: torch's kernels on a GPU add up in any order.
    assert [one["loss"] for one in others] == pytest.approx([one["loss"] for one in records], 1e-3)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_losses_of_one(tmp_path: Path, phantoms: list[Path]):
    one = train(without_drops(), phantoms, tmp_path / "one", site=Site(device="cuda:0"))
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    subprocess.run(
        [*command, script, tmp_path / "two", *phantoms],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(tests)},
    )
    losses = [
        [step["loss"] for step in run.metrics()] for run in (one, RunFolder(tmp_path / "two"))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)

"""What layouts save costs no number: steps with stochastic depth, in parts, to the last bit."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from eosin.loader import Batch
from eosin.train.parallel import lay_out
from eosin.train.rates import RateSchedules
from eosin.train.site import Layout
from eosin.train.step import initial_model, make_optimizer, train_step
from train.tiny import tiny_config
from train.worlds import ALONE, everything

CONFIG = replace(tiny_config(), global_batch=8, accumulation_steps=2)
DROPPING = replace(CONFIG, model=replace(CONFIG.model, drop_path_rate=0.4))


def parts_of(step: int) -> Iterator[Batch]:
    data, patches = DROPPING.data, DROPPING.part_batch
    generator = torch.Generator().manual_seed(step)
    for part in range(DROPPING.accumulation_steps):
        crops = [
            torch.randint(0, 256, (num, side, side, 3), generator=generator, dtype=torch.uint8)
            for num, side in (
                (2 * patches, data.global_px),
                (data.num_local * patches, data.crop_size("local")),
            )
        ]
        grid = (data.global_px // DROPPING.model.patch_size) ** 2
        masks = torch.rand(2 * patches, grid, generator=generator) < 0.3
        yield Batch(
            step=step,
            part=part,
            samples=(),
            global_crops=crops[0],
            local_crops=crops[1],
            masks=masks,
            hidden=masks.flatten().nonzero().squeeze(1),
        )


def trained(layout: Layout, precision: str) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """Return what three steps measured, and all tensors after them."""
    config = replace(DROPPING, precision=precision)
    model = initial_model(config)
    lay_out(model, ALONE, layout, is_bfloat16=precision == "bfloat16")
    optimizer, schedules = make_optimizer(model, config), RateSchedules(config)
    measured = [
        # Steps with a learning rate, not the first of the warm-up.
        train_step(model, optimizer, list(parts_of(step)), schedules.at(2 + step), ALONE)
        for step in range(3)
    ]
    return measured, everything(model, optimizer)


def test_a_step_does_not_look_for_hidden_patches(monkeypatch: pytest.MonkeyPatch):
    """Its batches say which they are, or a GPU would be waited for."""
    batches = {step: list(parts_of(step)) for step in range(3)}
    expected = trained(Layout(), "float32")

    def looked_for(*args: object) -> None:
        raise AssertionError

    monkeypatch.setitem(globals(), "parts_of", batches.get)
    monkeypatch.setattr(torch.Tensor, "nonzero", looked_for)
    assert trained(Layout(), "float32")[0] == expected[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_blocks_that_are_computed_again_drop_the_same_images(precision: str):
    kept, again = (trained(Layout(recompute_blocks=r), precision) for r in (False, True))
    assert again[0] == kept[0]
    assert [name for name in kept[1] if not torch.equal(kept[1][name], again[1][name])] == []

from collections.abc import Callable, Iterator
from dataclasses import replace

import jaxtyping
import pytest
import torch
import torch._dynamo
from torch import nn

from eosin.loader import Batch
from eosin.train.config import TrainConfig
from eosin.train.parallel import lay_out
from eosin.train.rates import RateSchedules
from eosin.train.site import Layout
from eosin.train.step import initial_model, make_optimizer, train_step
from eosin.watch.features import teacher_features
from train.tiny import tiny_config
from train.worlds import ALONE


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.fx.GraphModule]]:
    """Collect what torch.compile makes graphs of; it ends the test where it gives up."""
    found: list[torch.fx.GraphModule] = []

    def collect(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., object]:
        found.append(graph)
        return graph.forward

    compile_block = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_block(self, backend=collect))
    # Shapes are checked in tests alone, and the compiler cannot trace the checks.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield found
    torch.compiler.reset()


def batch_of(config: TrainConfig, step: int) -> Batch:
    data, num = config.data, config.global_batch
    side = data.global_px // config.model.patch_size
    masks = torch.zeros(2 * num, side**2, dtype=torch.bool)
    masks[:, : 2 + step] = True
    return Batch(
        step=step,
        part=0,
        samples=(),
        global_crops=torch.zeros(2 * num, data.global_px, data.global_px, 3, dtype=torch.uint8),
        local_crops=torch.zeros(
            data.num_local * num, data.crop_size("local"), data.crop_size("local"), 3
        ).byte(),
        masks=masks,
        hidden=masks.flatten().nonzero().squeeze(1),
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("recompute", [False, True])
def test_blocks_are_compiled_once_for_each_kind_of_crops_whatever_is_hidden(
    graphs: list[torch.fx.GraphModule], recompute: bool
):
    tiny = tiny_config(steps=6)
    config = replace(tiny, model=replace(tiny.model, depth=4))
    model = initial_model(config)
    layout = Layout(compile_blocks=True, recompute_blocks=recompute)
    lay_out(model, ALONE, layout, is_bfloat16=False)
    optimizer, schedules = make_optimizer(model, config), RateSchedules(config)
    for step in range(5):
        train_step(model, optimizer, [batch_of(config, step)], schedules.at(step), ALONE)
        if step == 0:
            num_first = len(graphs)
    # The teacher's and the student's global crops, and the local ones.
    assert num_first == 3
    assert len(graphs) == num_first
    tiles = torch.zeros(40, config.data.global_px, config.data.global_px, 3, dtype=torch.uint8)
    teacher_features(model, tiles)
    assert len(graphs) <= num_first + 2

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eosin.masking import BlockMasking
from eosin.models.config import HeadConfig, vit_config
from eosin.models.heads import DINOHead
from eosin.models.vit import VisionTransformer
from eosin.recipes import midnight12k
from eosin.train.config import TrainConfig
from eosin.train.student_teacher import StudentTeacher
from eosin.watch.flops import backbone_flops, head_flops, step_flops
from train.tiny import tiny_config

EVEN = BlockMasking(probability=1.0, ratio_range=(0.25, 0.25))


def counted(config: TrainConfig) -> int:
    """Count one step's products as torch does, with a quarter of all patches masked."""
    torch.manual_seed(0)
    model = StudentTeacher(config)
    batch, data, size = config.global_batch, config.data, config.data.global_px
    masks = torch.zeros(2 * batch, (size // config.model.patch_size) ** 2, dtype=torch.bool)
    masks[:, : masks.shape[1] // 4] = True
    local_px = data.crop_size("local")
    # Torch counts no product inside the CPU's own kernel of attention.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        terms, _ = model.losses(
            torch.randn(2 * batch, 3, size, size),
            torch.randn(data.num_local * batch, 3, local_px, local_px),
            masks,
            0.04,
        )
        torch.stack(list(terms.values())).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("ffn", ["mlp", "swiglu"])
@pytest.mark.parametrize("num_registers", [0, 4])
def test_a_backbone_has_the_products_that_torch_counts(ffn: str, num_registers: int):
    config = replace(vit_config("nano"), depth=2, ffn=ffn, num_registers=num_registers)
    with torch.device("meta"):
        model, images = VisionTransformer(config), torch.empty(3, 3, 112, 112)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    assert counter.get_total_flops() == 3 * backbone_flops(config, 112)


def test_a_head_has_the_products_that_torch_counts():
    config = HeadConfig(num_prototypes=500, hidden_dim=64, bottleneck_dim=24)
    with torch.device("meta"):
        head, tokens = DINOHead(192, config), torch.empty(7, 192)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head(tokens)
    assert counter.get_total_flops() == 7 * head_flops(192, config)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_step_has_the_products_that_torch_counts(is_shared: bool):
    config = tiny_config(masking=EVEN)
    config = replace(
        config,
        model=replace(config.model, drop_path_rate=0.0, embed_dim=96, depth=3),
        ibot_head=None if is_shared else config.ibot_head,
    )
    # Torch also counts the few products of the density.
    assert step_flops(config) == pytest.approx(counted(config), rel=0.001)


def test_stochastic_depth_leaves_out_its_share_of_the_blocks():
    config = midnight12k.config()
    whole = replace(config, model=replace(config.model, drop_path_rate=0.0))
    assert 0.65 < step_flops(config) / step_flops(whole) < 0.75


def test_a_run_without_ibot_does_without_its_head():
    config = tiny_config()
    without = replace(config, losses=replace(config.losses, ibot_weight=0.0))
    assert step_flops(without) < step_flops(config)

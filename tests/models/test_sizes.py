"""Every size of DINOv2 against the reference, with golden values.

They come from facebookresearch/dinov2 b8931f7 on a CPU in float32 with torch 2.13: what
`DinoVisionTransformer(img_size=518, init_values=1.0, block_chunks=0, ...)` of each size's widths
says with the weights of `fill`. Here small has all its blocks and the others the first ones only.
With all blocks (12, 12, 24, 40), weights of 0.05 times normal numbers and images as here, the
largest difference of any token to ours was 0.0 in all sizes, with 0 and 4 registers, at 224 and
masked at 98 and 224 x 280 px, and at 392 px in all but giant2, of which the first two blocks were
compared there.
"""

from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from eosin.models.config import vit_config
from eosin.models.vit import VisionTransformer
from models.deterministic import fill, sines, summary

DEPTHS = {"small": 12, "base": 2, "large": 1, "giant2": 1}


@lru_cache(maxsize=1)  # giant2's first block alone is 114 MB
def filled(size: str, num_registers: int, offset: float) -> VisionTransformer:
    config = replace(
        vit_config(size, image_size=518, num_registers=num_registers),
        depth=DEPTHS[size],
        interpolate_offset=offset,
    )
    # Drawing weights that are overwritten at once would take longer than the test.
    with torch.device("meta"):
        model = VisionTransformer(config)
    model.to_empty(device="cpu")
    fill(model)
    return model.eval()


@pytest.mark.parametrize(
    ("size", "num_registers", "offset", "height", "width", "is_masked", "expected"),
    [
        ("small", 0, 0.1, 224, 224, False, [1.65997, 0.86183, 1.80666, 0.00509, 320.72302]),
        ("small", 0, 0.1, 392, 392, False, [1.63203, 0.18224, 1.2538, 0.00592, 560.47414]),
        ("small", 0, 0.1, 98, 98, True, [1.60935, 1.58005, -1.06696, 0.00108, 140.15414]),
        ("small", 0, 0.1, 224, 280, True, [1.71206, 0.1321, 2.14158, 0.00302, 355.48607]),
        ("small", 0, 0.0, 224, 224, False, [1.66584, 0.74669, 1.79884, 0.00509, 320.71997]),
        ("small", 0, 0.0, 392, 392, False, [1.57591, 0.14227, 1.21949, 0.00595, 560.44518]),
        ("small", 0, 0.0, 98, 98, True, [1.69005, 1.63315, -1.07342, 0.00069, 140.02924]),
        ("small", 0, 0.0, 224, 280, True, [1.6994, 0.24915, 1.85481, 0.00301, 355.47414]),
        ("small", 4, 0.0, 224, 224, False, [1.19534, 0.47109, 1.71817, 0.00619, 324.86053]),
        ("small", 4, 0.0, 392, 392, False, [1.18867, 0.72543, 1.15444, 0.00665, 565.66736]),
        ("small", 4, 0.0, 98, 98, True, [1.18427, 1.23938, 0.14874, 0.00266, 146.58347]),
        ("small", 4, 0.0, 224, 280, True, [1.19673, 1.10693, 1.25141, 0.00443, 360.4653]),
        ("base", 0, 0.1, 224, 224, False, [1.0734, 0.98966, 1.01536, -0.00216, 452.83671]),
        ("base", 0, 0.1, 98, 98, True, [1.11507, -0.40979, 1.29698, 0.00173, 199.9052]),
        ("base", 0, 0.1, 224, 280, True, [1.12184, 0.97843, 0.8386, 0.0009, 506.23458]),
        ("base", 4, 0.0, 224, 224, False, [0.95664, 2.02565, 0.49271, -0.00318, 455.44485]),
        ("base", 4, 0.0, 98, 98, True, [0.95664, 1.03944, 1.13773, 0.00041, 207.36869]),
        ("base", 4, 0.0, 224, 280, True, [0.95619, 2.20121, 0.12623, -0.00026, 508.48977]),
        ("large", 0, 0.1, 224, 224, False, [0.70029, 0.31391, -0.86159, -0.0022, 520.36529]),
        ("large", 0, 0.1, 98, 98, True, [0.6448, 0.63443, 1.35637, 0.00016, 230.69984]),
        ("large", 0, 0.1, 224, 280, True, [0.70029, 0.83857, -1.25777, -0.001, 583.24382]),
        ("large", 4, 0.0, 224, 224, False, [0.63086, 0.96804, -0.67658, -0.00271, 524.16764]),
        ("large", 4, 0.0, 98, 98, True, [0.63086, 1.10431, 0.20184, -0.00049, 239.57427]),
        ("large", 4, 0.0, 224, 280, True, [0.63086, 0.42917, -0.63195, -0.00164, 586.51039]),
        ("giant2", 0, 0.1, 224, 224, False, [-1.04161, -0.9029, 1.72909, 0.0003, 639.64121]),
        ("giant2", 0, 0.1, 98, 98, True, [-1.06479, -1.1288, 1.64107, 0.0004, 282.18811]),
        ("giant2", 0, 0.1, 224, 280, True, [-1.04552, -0.86425, 1.75259, 0.00038, 714.97469]),
        ("giant2", 4, 0.0, 224, 224, False, [0.48814, -2.0348, 0.49113, -0.00041, 644.55042]),
        ("giant2", 4, 0.0, 98, 98, True, [0.48814, 0.44529, 0.34358, -0.00031, 293.24284]),
        ("giant2", 4, 0.0, 224, 280, True, [0.48814, -1.72896, 0.50401, -0.00034, 719.36557]),
    ],
)
def test_outputs_of_every_size_are_those_of_the_reference(
    size: str,
    num_registers: int,
    offset: float,
    height: int,
    width: int,
    is_masked: bool,
    expected: list[float],
):
    masks = sines(1, height * width // 14**2, phase=0.5) > 0 if is_masked else None
    with torch.no_grad():
        tokens = filled(size, num_registers, offset)(sines(1, 3, height, width), masks)
    assert tokens.registers.shape[1] == num_registers
    joined = torch.cat([tokens.cls[:, None], tokens.registers, tokens.patches], dim=1)
    assert summary(joined) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("size", DEPTHS)
def test_blocks_are_as_wide_as_the_reference_has_them(size: str):
    # Source: as above, the shapes of the released weights' first block.
    widths = {"small": (384, 1536), "base": (768, 3072), "large": (1024, 4096)}
    with torch.device("meta"):
        state_dict = VisionTransformer(vit_config(size, image_size=518)).state_dict()
    if size == "giant2":
        assert state_dict["blocks.0.mlp.w12.weight"].shape == (8192, 1536)
        assert state_dict["blocks.0.mlp.w3.weight"].shape == (1536, 4096)
    else:
        dim, hidden_dim = widths[size]
        assert state_dict["blocks.0.mlp.fc1.weight"].shape == (hidden_dim, dim)
    assert state_dict["pos_embed"].shape[1] == 1 + 37**2

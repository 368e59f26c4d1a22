"""The golden values come from facebookresearch/dinov2 b8931f7 on a CPU in float32.

They are what `DinoVisionTransformer(img_size=56, patch_size=14, embed_dim=48, depth=2, num_heads=3,
init_values=0.5, block_chunks=0, ...)` says with the weights of `fill`; on random weights the two
differed by exactly 0.0, also while training (torch 2.13).
"""

from dataclasses import replace

import pytest
import torch

from eosin.models.config import ViTConfig, vit_config
from eosin.models.vit import Tokens, VisionTransformer
from models.deterministic import digest, fill, sines

SMALL = ViTConfig(embed_dim=48, depth=2, num_heads=3, image_size=56, layerscale_init=0.5)


def filled(config: ViTConfig) -> VisionTransformer:
    model = VisionTransformer(config)
    fill(model)
    return model.eval()


def joined(tokens: Tokens) -> torch.Tensor:
    return torch.cat([tokens.cls[:, None], tokens.registers, tokens.patches], dim=1)


@pytest.mark.parametrize(
    ("num_registers", "ffn", "height", "width", "is_masked", "expected"),
    [
        (0, "mlp", 56, 56, False, [1.64745, 1.21235, -0.80462, 0.88996]),
        (0, "mlp", 56, 56, True, [1.02316, 1.18504, -0.79802, 1.21159]),
        (0, "mlp", 84, 84, False, [1.64011, 1.08877, -1.07111, 0.59618]),
        (0, "mlp", 28, 70, True, [1.62561, 1.04063, 1.46608, -5.27737]),
        # As many patches as are stored, but in another shape.
        (0, "mlp", 28, 112, False, [1.64832, 1.15432, -0.75802, 0.5071]),
        (4, "mlp", 56, 56, False, [0.29021, -0.52421, -0.83797, -2.09217]),
        (4, "mlp", 56, 56, True, [0.20289, -0.61355, -0.8532, -5.51866]),
        (4, "mlp", 84, 84, False, [0.29021, -0.52421, -0.43358, 10.23868]),
        (4, "mlp", 28, 70, True, [0.20362, -0.56161, 2.39885, 11.07584]),
        (0, "swiglu", 56, 56, False, [1.71092, 0.50889, -1.02035, 2.94619]),
        (0, "swiglu", 56, 56, True, [1.35299, 0.28648, -1.02333, 0.7877]),
        (0, "swiglu", 84, 84, False, [1.723, 0.42338, -1.16646, 0.50403]),
        (0, "swiglu", 28, 70, True, [1.72318, 0.37756, -0.47144, -5.65508]),
        (4, "swiglu", 56, 56, False, [-0.49534, 0.79037, -0.97225, -0.50941]),
        (4, "swiglu", 56, 56, True, [-0.51248, 0.76367, -0.99036, 0.9357]),
        (4, "swiglu", 84, 84, False, [-0.49574, 0.79023, -0.47663, 4.25312]),
        (4, "swiglu", 28, 70, True, [-0.50428, 0.78183, 1.41059, 9.2183]),
    ],
)
def test_outputs_are_those_of_the_reference(
    num_registers: int, ffn: str, height: int, width: int, is_masked: bool, expected: list[float]
):
    model = filled(replace(SMALL, num_registers=num_registers, ffn=ffn))
    masks = sines(2, height * width // 14**2, phase=0.5) > 0 if is_masked else None
    tokens = model(sines(2, 3, height, width), masks)
    assert tokens.registers.shape == (2, num_registers, 48)
    assert digest(joined(tokens)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    ("offset", "antialias", "height", "width", "expected"),
    [
        (0.1, False, 84, 84, [1.64016, 1.08926, -1.07262, 0.58899]),
        (0.0, True, 84, 84, [1.63995, 1.08691, -1.07249, 0.59498]),
        (0.0, False, 84, 84, [1.64011, 1.08877, -1.07111, 0.59618]),
        (0.1, False, 28, 70, [1.6302, 1.29328, -0.17309, -0.70181]),
        (0.0, True, 28, 70, [1.62994, 1.24441, -0.15062, -0.08675]),
        (0.0, False, 28, 70, [1.63509, 1.29707, -0.15455, -0.43589]),
    ],
)
def test_positions_are_interpolated_as_in_the_reference(
    offset: float, antialias: bool, height: int, width: int, expected: list[float]
):
    model = filled(replace(SMALL, interpolate_offset=offset, antialias=antialias))
    assert digest(joined(model(sines(2, 3, height, width)))) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.05, [1.6413, 1.13791, -0.65908, -1.8527]), (0.4, [1.55963, 1.01458, -0.83665, 3.08246])],
)
def test_stochastic_depth_draws_and_scales_as_the_reference(rate: float, expected: list[float]):
    # Source: as above, NestedTensorBlock with a list of one tensor, as the reference trains; the
    # difference was exactly 0.0 at both rates, with 8 and with 40 images.
    model = filled(replace(SMALL, drop_path_rate=rate)).train()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        tokens = model(sines(8, 3, 56, 56))
    assert digest(joined(tokens)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    ("size", "num_registers", "num_parameters", "num_tensors"),
    [
        # Source: facebookresearch/dinov2 b8931f7, hub/backbones.py, counted at 518 px; large is
        # the hub's, with an mlp.
        ("small", 0, 22_056_576, 175),
        ("small", 4, 22_058_112, 176),
        ("base", 0, 86_580_480, 175),
        ("base", 4, 86_583_552, 176),
        ("large", 0, 304_368_640, 343),
        ("large", 4, 304_372_736, 344),
        ("giant2", 0, 1_136_480_768, 567),
        ("giant2", 4, 1_136_486_912, 568),
    ],
)
def test_sizes_have_the_parameters_of_the_reference(
    size: str, num_registers: int, num_parameters: int, num_tensors: int
):
    with torch.device("meta"):
        model = VisionTransformer(vit_config(size, image_size=518, num_registers=num_registers))
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters
    assert len(model.state_dict()) == num_tensors


def test_the_state_dict_has_metas_names():
    block = [
        f"blocks.0.{layer}.{part}"
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.w12", "mlp.w3")
        for part in ("weight", "bias")
    ]
    outer = ["cls_token", "pos_embed", "register_tokens", "mask_token", "norm.weight", "norm.bias"]
    patch_embed = ["patch_embed.proj.weight", "patch_embed.proj.bias"]
    scales = ["blocks.0.ls1.gamma", "blocks.0.ls2.gamma"]
    model = VisionTransformer(replace(SMALL, depth=1, num_registers=2, ffn="swiglu"))
    assert set(model.state_dict()) == {*block, *outer, *patch_embed, *scales}


def test_initial_weights_follow_the_reference():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(vit_config("nano", num_registers=4))
    weights = model.state_dict()
    for name in ("pos_embed", "blocks.5.attn.qkv.weight", "blocks.0.mlp.fc2.weight"):
        assert float(weights[name].std()) == pytest.approx(0.02, rel=0.03)
    for name in ("cls_token", "register_tokens"):
        assert float(weights[name].std()) == pytest.approx(1e-6, rel=0.2)
    assert (weights["mask_token"] == 0).all()
    assert (weights["blocks.3.mlp.fc1.bias"] == 0).all()
    assert (weights["blocks.3.ls1.gamma"] == 1e-5).all()


def test_a_side_that_patches_do_not_fill_is_refused():
    with pytest.raises(ValueError, match=r"56 x 60 px.*14"):
        VisionTransformer(SMALL)(torch.zeros(1, 3, 56, 60))


def test_masks_of_another_grid_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 9\).*4 x 4.*\(1, 16\)"):
        VisionTransformer(SMALL)(torch.zeros(1, 3, 56, 56), torch.zeros(1, 9, dtype=torch.bool))


def test_what_is_masked_cannot_be_seen():
    model = filled(SMALL)
    images, other = sines(1, 3, 56, 56), sines(1, 3, 56, 56)
    other[:, :, :14, :14] += 1.0
    masks = torch.zeros(1, 16, dtype=torch.bool)
    assert not torch.equal(model(images, masks).cls, model(other, masks).cls)
    masks[0, 0] = True
    assert torch.equal(model(images, masks).cls, model(other, masks).cls)


def test_nothing_is_dropped_outside_training():
    model = filled(replace(SMALL, drop_path_rate=0.5))
    images = sines(4, 3, 56, 56)
    assert torch.equal(model(images).cls, filled(SMALL)(images).cls)


def test_the_tokens_between_blocks_stay_float32_under_autocast():
    model = filled(replace(SMALL, num_registers=2, drop_path_rate=0.4)).train()
    seen = []
    model.blocks[1].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    images, masks = sines(4, 3, 84, 84), sines(4, 36, phase=0.5) > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        joined(model(images, masks)).pow(2).sum().backward()
    assert seen == [torch.float32]
    assert torch.isfinite(model.pos_embed.grad).all()


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("num_registers", [0, 2])
@pytest.mark.parametrize("num_read", [0, 9])
def test_patches_that_are_read_and_their_gradients_are_those_of_the_whole(
    num_read: int, num_registers: int, recomputes: bool
):
    config = replace(SMALL, num_registers=num_registers, ffn="swiglu", drop_path_rate=0.4)
    images, masks = sines(5, 3, 56, 56), sines(5, 16, phase=0.5) > 0
    read = torch.randperm(5 * 16, generator=torch.Generator().manual_seed(0))[:num_read]
    results = []
    for is_whole in (True, False):
        model = filled(config).train()
        model.recomputes_blocks = recomputes
        with torch.random.fork_rng():
            torch.manual_seed(7)
            tokens = model(images, masks, None if is_whole else read)
            patches = tokens.patches.flatten(0, 1)[read] if is_whole else tokens.patches
            found = torch.cat([tokens.cls, patches])
            found.pow(3).sum().backward()
        results.append((found.detach(), *(p.grad for p in model.parameters())))
    for whole, alone in zip(*results, strict=True):
        torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


def test_every_parameter_gets_a_gradient():
    model = filled(replace(SMALL, num_registers=2)).train()
    masks = sines(2, 16, phase=0.5) > 0
    joined(model(sines(2, 3, 56, 56), masks)).pow(3).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []

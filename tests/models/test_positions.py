from dataclasses import replace

import pytest
import torch

from eosin.errors import CheckpointError, ConfigError
from eosin.models.config import ViTConfig
from eosin.models.positions import metas_rule, position_shift, resample_positions
from eosin.models.vit import VisionTransformer
from models.deterministic import fill, sines

SMALL = ViTConfig(embed_dim=48, depth=2, num_heads=3, image_size=98, layerscale_init=0.5)


def filled(config: ViTConfig) -> VisionTransformer:
    model = VisionTransformer(config)
    fill(model)
    return model.eval()


def joined(model: VisionTransformer, height: int, width: int) -> torch.Tensor:
    with torch.no_grad():
        cls, registers, patches = model(sines(2, 3, height, width))
    return torch.cat([cls[:, None], registers, patches], dim=1)


@pytest.mark.parametrize("image_size", [56, 98, 126])
@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_resampled_model_computes_the_same_at_the_target_size_without_an_offset(
    image_size: int, offset: float, antialias: bool
):
    model = filled(replace(SMALL, interpolate_offset=offset, antialias=antialias))
    tensors, config = resample_positions(model.state_dict(), model.config, image_size)
    assert (config.image_size, config.interpolate_offset) == (image_size, 0.0)
    resampled = VisionTransformer(replace(config, antialias=None)).eval()
    resampled.load_state_dict(tensors)
    assert torch.equal(
        joined(resampled, image_size, image_size), joined(model, image_size, image_size)
    )


def test_resampling_leaves_the_class_token_and_all_other_tensors():
    before = filled(SMALL).state_dict()
    after, _ = resample_positions(before, SMALL, 56)
    assert torch.equal(after["pos_embed"][:, 0], before["pos_embed"][:, 0])
    assert after["pos_embed"].shape == (1, 17, 48)
    others = [name for name in before if name != "pos_embed"]
    assert all(after[name] is before[name] for name in others)


def test_a_table_of_another_size_than_the_configuration_says_is_refused():
    tensors = filled(SMALL).state_dict()
    with pytest.raises(CheckpointError, match=r"image_size=56.*\(1, 17, 48\).*\(1, 50, 48\)"):
        resample_positions(tensors, replace(SMALL, image_size=56), 98)
    with pytest.raises(CheckpointError, match="there is none"):
        resample_positions({}, SMALL, 56)
    with pytest.raises(ConfigError, match="image_size=100"):
        resample_positions(tensors, SMALL, 100)


def test_metas_rule_is_that_of_the_released_weights():
    without, with_registers = metas_rule(SMALL), metas_rule(replace(SMALL, num_registers=4))
    assert (without.interpolate_offset, without.antialias) == (0.1, False)
    assert (with_registers.interpolate_offset, with_registers.antialias) == (0.0, True)


def test_positions_shift_only_where_the_table_is_interpolated_by_another_rule():
    tensors = filled(SMALL).state_dict()
    shifts = position_shift(tensors, SMALL, (98, 56, 126, 56))
    assert list(shifts) == [98, 56, 126]
    assert shifts[98] == 0.0
    assert 0.001 < shifts[126] < shifts[56] < 1.0
    unshifted = position_shift(tensors, metas_rule(SMALL), (56, 126))
    assert set(unshifted.values()) == {0.0}
    trained = replace(SMALL, interpolate_offset=0.1, antialias=True)
    assert position_shift(tensors, trained, (56,), trained_with=trained) == {56: 0.0}
    assert position_shift(tensors, trained, (56,))[56] > 0


def test_a_shift_is_relative_to_what_was_trained():
    tensors = filled(SMALL).state_dict()
    ours = {n: x for n, x in tensors.items() if n == "pos_embed"}
    doubled = {"pos_embed": 2 * ours["pos_embed"]}
    first, second = (position_shift(x, SMALL, (56,))[56] for x in (ours, doubled))
    assert first == pytest.approx(second, rel=1e-6)


def test_with_registers_nothing_shifts_against_metas_rule():
    config = replace(SMALL, num_registers=4)
    assert position_shift(filled(config).state_dict(), config, (56, 126)) == {56: 0.0, 126: 0.0}


def test_a_side_that_patches_do_not_fill_is_refused():
    with pytest.raises(ConfigError, match="60 px"):
        position_shift(filled(SMALL).state_dict(), SMALL, (60,))

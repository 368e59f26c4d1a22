import subprocess
import sys
from dataclasses import replace

import pytest

from eosin.errors import ConfigError
from eosin.models.config import VIT_SIZES, HeadConfig, ViTConfig, vit_config


def test_importing_the_configuration_does_not_import_torch():
    code = "import sys, eosin.models.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("size", VIT_SIZES)
def test_every_named_size_has_heads_of_64_channels(size: str):
    config = vit_config(size)
    assert config.embed_dim == 64 * config.num_heads


def test_a_named_size_takes_the_changes_that_are_asked_for():
    config = vit_config("small", patch_size=16, image_size=256, num_registers=4)
    assert (config.embed_dim, config.grid_size, config.num_registers) == (384, 16, 4)


def test_an_unknown_size_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"'smol'.*nano.*giant2"):
        vit_config("smol")


def test_swiglu_is_two_thirds_as_wide_in_steps_of_eight():
    # Source: facebookresearch/dinov2 b8931f7: w3 of vit_giant2 is 1536 x 4096.
    assert vit_config("giant2").ffn_hidden_dim == 4096
    assert replace(vit_config("nano"), ffn="swiglu").ffn_hidden_dim == 512
    assert vit_config("nano").ffn_hidden_dim == 768


def test_positions_are_antialiased_with_registers_unless_said_otherwise():
    assert not vit_config("nano").is_antialiased
    assert vit_config("nano", num_registers=4).is_antialiased
    assert not replace(vit_config("nano", num_registers=4), antialias=False).is_antialiased


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 100}, "embed_dim=100.*num_heads=3"),
        ({"image_size": 225}, "image_size=225.*patch_size=14"),
        ({"depth": 0}, "depth=0"),
        ({"num_registers": -1}, "num_registers=-1"),
        ({"layerscale_init": 0.0}, "layerscale_init=0.0"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0"),
        ({"interpolate_offset": 1.0}, "interpolate_offset=1.0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(changes: dict[str, float], message: str):
    fields = {"embed_dim": 192, "depth": 6, "num_heads": 3}
    with pytest.raises(ConfigError, match=message):
        ViTConfig(**(fields | changes))


def test_a_head_without_prototypes_is_refused():
    with pytest.raises(ConfigError, match="num_prototypes=0"):
        HeadConfig(num_prototypes=0)

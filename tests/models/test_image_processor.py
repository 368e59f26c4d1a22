"""Row 14 of the faults: what a Hugging Face folder says of its images is honoured or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from PIL import Image as PillowImage

from eosin.embed.encoder import load_encoder
from eosin.errors import ConfigError, InputError
from eosin.models.config import ViTConfig
from eosin.models.huggingface import export_huggingface, from_huggingface
from eosin.models.image_processor import FILE, read_preparation
from eosin.models.pooling import pooled
from eosin.models.vit import VisionTransformer
from eosin.transforms.resize import resize
from test_cli import fails

CONFIG = ViTConfig(embed_dim=24, depth=1, num_heads=2, patch_size=14, image_size=56)
GREYS = np.random.default_rng(3)
SIDE = 96


def tile(height: int = SIDE, width: int = SIDE) -> UInt8[np.ndarray, "height width 3"]:
    """Blurred noise, in which filters differ."""
    coarse = GREYS.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(4, 0).repeat(4, 1)[:height, :width])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    weights = VisionTransformer(CONFIG).state_dict()
    export_huggingface(
        tmp_path / "model",
        weights,
        CONFIG,
        mean=(0.7, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        card="",
        input_size_px=56,
    )
    return tmp_path / "model"


def say(folder: Path, *without: str, **changes: object) -> None:
    rules = json.loads((folder / FILE).read_text())
    rules = {name: value for name, value in {**rules, **changes}.items() if name not in without}
    (folder / FILE).write_text(json.dumps(rules))


BICUBIC = {"resample": 3}
HONOURED = {
    "resize and crop": {"size": {"shortest_edge": 64}, **BICUBIC},
    "resize and crop bilinearly": {"size": {"shortest_edge": 64}},
    "no normalisation": {"do_normalize": False, **BICUBIC},
    "no rescaling": {"do_rescale": False, "image_mean": [120, 99.5, 0], **BICUBIC},
    "another factor": {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], **BICUBIC},
    "no resizing": {"do_resize": False, "crop_size": {"height": 56, "width": 56}},
    "one number for the edge": {"size": 64, **BICUBIC},
    "one number for the crop": {"crop_size": 56, "size": 70, **BICUBIC},
    "both edges": {"size": {"height": 56, "width": 56}, "do_center_crop": False, **BICUBIC},
    "nearest": {"resample": 0},
    "lanczos": {"resample": 1},
    "box": {"resample": 4},
    "an edge that is no whole multiple": {"size": {"shortest_edge": 61}, **BICUBIC},
}


@pytest.mark.parametrize("changes", HONOURED.values(), ids=HONOURED.keys())
@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, 131), (130, 77)])
def test_images_are_prepared_as_transformers_processor_does(
    folder: Path, changes: dict, shape: tuple[int, int]
):
    from transformers.models.bit.image_processing_pil_bit import (  # noqa: PLC0415
        BitImageProcessorPil,
    )

    if "do_center_crop" in changes:
        shape = (SIDE, SIDE)
    say(folder, **changes)
    image = tile(*shape)
    expected = BitImageProcessorPil.from_pretrained(folder)(image, return_tensors="np").pixel_values
    encoder = load_encoder(folder)
    prepared = encoder.prepare(image)
    mean, std = np.asarray(encoder.mean), np.asarray(encoder.std)
    pixels = ((prepared / 255 - mean) / std).transpose(2, 0, 1)
    assert np.abs(pixels - expected[0]).max() < 1e-4 * max(1.0, np.abs(expected).max())


def test_embeddings_of_tiles_are_those_of_transformers(folder: Path):
    from transformers import AutoModel  # noqa: PLC0415
    from transformers.models.bit.image_processing_pil_bit import (  # noqa: PLC0415
        BitImageProcessorPil,
    )

    say(folder, size={"shortest_edge": 64}, do_normalize=False, resample=3)
    images = np.stack([tile() for _ in range(3)])
    processor = BitImageProcessorPil.from_pretrained(folder)
    with torch.no_grad():
        model = AutoModel.from_pretrained(folder).eval()
        tokens = model(processor(list(images), return_tensors="pt").pixel_values).last_hidden_state
    expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=-1)
    assert torch.allclose(pooled(load_encoder(folder)(images)), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["ViTImageProcessor", "ViTFeatureExtractor"])
def test_what_a_vit_processor_leaves_out_is_as_in_transformers(folder: Path, kind: str):
    (folder / FILE).write_text(json.dumps({"image_processor_type": kind, "size": 56}))
    found = read_preparation(folder, image_size_px=224)
    assert found.input_size_px == 56
    assert (found.mean, found.std) == ((0.5,) * 3, (0.5,) * 3)


REFUSED = {
    "padding": ({"do_pad": True}, "do_pad=True is not known here"),
    "channels the other way round": ({"do_flip_channel_order": True}, "do_flip_channel_order"),
    "a key of tomorrow": ({"do_stain_normalize": True}, "do_stain_normalize=True"),
    "a border": ({"size": {"shortest_edge": 28}}, "smaller than crop_size"),
    "the longest edge": ({"size": {"longest_edge": 56}}, "size={'longest_edge': 56} is neither"),
    "an oblong": ({"crop_size": {"height": 56, "width": 28}}, "only squares"),
    "half a patch": ({"crop_size": 50}, "no multiple of the model's patches"),
    "no size at all": ({"do_resize": False, "do_center_crop": False}, "no one size"),
    "an unknown filter": ({"resample": 9}, "resample=9"),
    "no colours": ({"image_mean": None}, "image_mean=None must be three numbers"),
    "two colours": ({"image_std": [1, 1]}, r"image_std=\[1, 1\] must be three"),
    "no spread": ({"image_std": [0, 1, 1]}, "image_std"),
    "text": ({"rescale_factor": "1/255"}, "rescale_factor='1/255'"),
    "a flag that is none": ({"do_normalize": "no"}, "do_normalize='no' must be true or false"),
    "an unknown processor": (
        {"image_processor_type": "CLIPImageProcessor", "size": None, "do_center_crop": True},
        "size=None is neither",
    ),
}


@pytest.mark.parametrize(("changes", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_done_here_is_refused_by_name(folder: Path, changes: dict, what: str):
    say(folder, **changes)
    with pytest.raises(InputError, match=what):
        load_encoder(folder)


def test_an_unknown_processor_that_leaves_its_rule_out_is_refused(folder: Path):
    say(folder, "resample", image_processor_type="SiglipImageProcessor")
    with pytest.raises(InputError, match="leaves out resample, and what SiglipImageProcessor"):
        load_encoder(folder)


def test_without_the_file_mean_and_std_are_asked_for_and_taken(folder: Path):
    (folder / FILE).unlink()
    with pytest.raises(InputError, match="--mean R G B --std R G B"):
        load_encoder(folder)
    encoder = load_encoder(folder, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert (encoder.mean, encoder.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert encoder.input_size_px == 56


def test_mean_and_std_go_before_the_file_and_are_refused_for_a_run(folder: Path, tmp_path: Path):
    assert load_encoder(folder, mean=(0.1, 0.2, 0.3)).mean == (0.1, 0.2, 0.3)
    assert load_encoder(folder, mean=(0.1, 0.2, 0.3)).std == (0.2, 0.25, 0.3)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="--mean, --std"):
        load_encoder(tmp_path / "run", mean=(0.1, 0.2, 0.3))


def test_our_own_exports_keep_their_own_rule(folder: Path):
    image = tile()
    encoder = load_encoder(folder)
    assert np.array_equal(encoder.prepare(image), encoder.prepare(encoder.prepare(image)))
    assert read_preparation(folder, image_size_px=56).resample is None


@pytest.mark.parametrize(
    "left_out", ["mlp_ratio", "use_swiglu_ffn", "num_attention_heads", "layer_norm_eps", "qkv_bias"]
)
def test_what_config_json_leaves_out_is_as_in_transformers(folder: Path, left_out: str):
    """Row 14: transformers leaves out what is as in its own defaults."""
    stored = json.loads((folder / "config.json").read_text())
    config = ViTConfig(embed_dim=768, depth=1, num_heads=12, patch_size=14, image_size=56)
    names = {"hidden_size": 768, "num_attention_heads": 12}
    full = {**stored, **names}
    partial = {name: value for name, value in full.items() if name != left_out}
    from eosin.models.huggingface_config import config_from_json  # noqa: PLC0415

    assert config_from_json(partial) == config_from_json(full) == config


@pytest.mark.parametrize(
    ("model_type", "what"),
    [
        ("vit", "a plain vision transformer"),
        ("dinov3_vit", "a DINOv3 model"),
        ("timm_wrapper", "a timm model"),
        ("bert", "another kind of model"),
        (None, "no model_type"),
    ],
)
def test_a_model_of_another_kind_is_called_what_it_is(folder: Path, model_type, what: str):
    """Section E of the faults: `embed hf_vit`."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": model_type}))
    with pytest.raises(InputError, match=what):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("model.safetensors.index.json", "in several files"),
        ("adapter_config.json", "an adapter"),
        ("pytorch_model.bin", "as a pickle"),
        ("notes.txt", "has no model.safetensors"),
    ],
)
def test_weights_that_lie_otherwise_are_called_what_they_are(folder: Path, file: str, what: str):
    """Section E of the faults: sharded weights and the like."""
    (folder / "model.safetensors").unlink()
    (folder / file).write_text("{}")
    with pytest.raises(InputError, match=what):
        load_encoder(folder)


def test_the_backbone_of_a_fine_tuned_model_is_taken(folder: Path):
    """Section E of the faults: "115 missing, 117 unknown"."""
    from safetensors.torch import load_file  # noqa: PLC0415

    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    tuned = {f"dinov2.{name}": tensor for name, tensor in tensors.items()}
    tuned["classifier.weight"] = torch.zeros(3, 48)
    state_dict, _ = from_huggingface(tuned, config)
    expected, _ = from_huggingface(tensors, config)
    assert all(torch.equal(state_dict[name], expected[name]) for name in expected)


def test_a_hub_name_says_how_the_model_is_fetched(capsys: pytest.CaptureFixture, tmp_path: Path):
    """Section E of the faults: hub names."""
    _, message = fails(capsys, "embed", "owkin/phikon-v2", tmp_path, "-o", tmp_path / "out")
    assert "hf download owkin/phikon-v2 --local-dir phikon-v2" in message


@pytest.mark.parametrize("shape", [(SIDE, 131), (130, 77), (56, 80)])
def test_of_an_oblong_image_an_export_takes_the_middle_as_transformers_does(
    folder: Path, shape: tuple[int, int]
):
    """Row 15 of the faults: oblong images were refused in one place and stretched in another."""
    from transformers.models.bit.image_processing_pil_bit import (  # noqa: PLC0415
        BitImageProcessorPil,
    )

    down, across = np.mgrid[0 : shape[0], 0 : shape[1]] / np.reshape(shape, (2, 1, 1))
    smooth = (255 * np.dstack([down, across, (down + across) / 2])).astype(np.uint8)
    processor = BitImageProcessorPil.from_pretrained(folder, do_normalize=False)
    expected = np.asarray(processor(PillowImage.fromarray(smooth))["pixel_values"][0])
    seen = load_encoder(folder).prepare(smooth).transpose(2, 0, 1) / 255
    # Where both resize, one by averaging areas and one bilinearly, and the middle lies half a pixel
    # off where a side is odd.
    assert np.abs(seen - expected).max() < 6 / 255
    stretched = resize(smooth, 56).transpose(2, 0, 1) / 255
    assert np.abs(stretched - expected).max() > 12 / 255

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from jaxtyping import UInt8

from eosin.backends.openslide import OpenSlideBackend
from eosin.backends.patch import read_patch
from eosin.embed.colour import ColourHistogram
from eosin.embed.encoder import Encoder, ViTEncoder, load_encoder, weights_sha256
from eosin.embed.extract import Extraction, embed_images, embed_slides
from eosin.embed.store import list_features, read_features
from eosin.errors import ConfigError, InputError
from eosin.geometry import MagnificationRule, mpp_window
from eosin.journey import export_run
from eosin.models.config import vit_config
from eosin.models.vit import Tokens, VisionTransformer
from eosin.sampling.grid import GridSampler
from eosin.tissue.hsv import HSVTissueDetector
from eosin.tissue.otsu import OtsuTissueDetector
from eosin.train.loop import train
from eosin.train.site import Site
from train.tiny import tiny_config

GRID = GridSampler(patch_size=64, target_mpp=1.0)


class MeanColour(Encoder):
    """Says the mean colour of a patch, so that features can be checked against the slide."""

    name = "mean colour"
    weights_sha256 = "none"
    input_size_px = 64
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, images: UInt8[np.ndarray, "batch height width 3"]) -> Tokens:
        self.num_calls += 1
        colour = torch.from_numpy(images.mean((1, 2)).astype(np.float32))
        return Tokens(cls=colour, registers=colour[:, None], patches=colour[:, None] + 1)


def extraction(num_threads: int = 2, grid: GridSampler = GRID) -> Extraction:
    return Extraction(
        backend=OpenSlideBackend(),
        tissue_detector=HSVTissueDetector(),
        grid=grid,
        batch_size=16,
        num_threads=num_threads,
    )


@pytest.mark.parametrize("num_threads", [0, 3])
def test_each_row_is_of_the_patch_at_its_coordinates(
    tmp_path: Path, phantoms: list[Path], num_threads: int
):
    (outcome,) = embed_slides(MeanColour(), [str(phantoms[0])], tmp_path, extraction(num_threads))
    assert outcome.status == "embedded"
    stored = read_features(tmp_path / f"{phantoms[0].stem}.h5")
    assert len(stored.coords) > 40
    with OpenSlideBackend().open(phantoms[0]) as slide:
        window = mpp_window(slide.info, target_mpp=1.0, patch_size=64, rule=MagnificationRule())
        for row in (0, 17, len(stored.coords) - 1):
            x, y = stored.coords[row].tolist()
            patch = read_patch(slide, window.at(slide.info, x, y))
            assert stored.cls[row] == pytest.approx(patch.mean((0, 1)), abs=1e-3)
            assert stored.patch_mean[row] == pytest.approx(stored.cls[row] + 1)


def test_the_file_says_where_its_features_come_from(tmp_path: Path, phantoms: list[Path]):
    list(embed_slides(MeanColour(), [str(phantoms[0])], tmp_path, extraction()))
    provenance = read_features(tmp_path / f"{phantoms[0].stem}.h5").provenance
    assert provenance.encoder == "mean colour"
    assert provenance.mpp == pytest.approx(1.0)
    assert provenance.patch_size_px == 64
    assert provenance.patch_size_l0 == pytest.approx(256.0)
    assert "HSVTissueDetector" in provenance.sampling


def test_a_second_run_embeds_nothing_again(tmp_path: Path, phantoms: list[Path]):
    slides, encoder = [str(path) for path in phantoms], MeanColour()
    list(embed_slides(encoder, slides, tmp_path, extraction()))
    num_calls = encoder.num_calls
    again = list(embed_slides(encoder, slides, tmp_path, extraction()))
    assert [outcome.status for outcome in again] == ["already there"] * 3
    assert encoder.num_calls == num_calls


class OtherEncoder(MeanColour):
    name = "another"
    weights_sha256 = "other"


@pytest.mark.parametrize(
    ("encoder", "settings", "says"),
    [
        (OtherEncoder(), {}, "weights_sha256 was none, now other"),
        (MeanColour(), {"grid": GridSampler(patch_size=64, target_mpp=2.0)}, "target_mpp=2.0"),
        (MeanColour(), {"grid": GridSampler(patch_size=64, target_mpp=1.0, stride=9)}, "stride=9"),
        (MeanColour(), {"tissue_detector": OtsuTissueDetector()}, "OtsuTissueDetector"),
        (MeanColour(), {"dtype": "float16"}, "dtype was float32, now float16"),
    ],
)
def test_features_of_another_encoder_or_other_settings_stay_and_are_named(
    tmp_path: Path, phantoms: list[Path], encoder: MeanColour, settings: dict, says: str
):
    """Row 2 of the faults: a second encoder replaced the features of the first without a word."""
    list(embed_slides(MeanColour(), [str(phantoms[1])], tmp_path, extraction()))
    file = tmp_path / f"{phantoms[1].stem}.h5"
    before = file.read_bytes()
    slides = [str(path) for path in phantoms]
    with pytest.raises(ConfigError, match=f"{file} holds features of another .*{says}"):
        next(embed_slides(encoder, slides, tmp_path, replace(extraction(), **settings)))
    assert encoder.num_calls == 0
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_a_file_of_another_tool_is_refused_by_name_before_any_slide_is_opened(
    tmp_path: Path, phantoms: list[Path]
):
    """Row 2 of the faults: CLAM's coordinates of the same name were replaced."""
    clams = tmp_path / f"{phantoms[2].stem}.h5"
    with h5py.File(clams, "w") as file:
        file["coords"] = np.zeros((9, 2))
    before, encoder = clams.read_bytes(), MeanColour()
    slides = [str(path) for path in phantoms]
    with pytest.raises(ConfigError, match=f"{clams} is there and is not a feature file that eosin"):
        next(embed_slides(encoder, slides, tmp_path, extraction()))
    assert encoder.num_calls == 0
    assert clams.read_bytes() == before
    assert list(tmp_path.iterdir()) == [clams]


def test_a_folder_or_a_link_to_nowhere_at_the_place_of_a_feature_file_is_refused(
    tmp_path: Path, phantoms: list[Path]
):
    """Row 2 of the faults: other members, of other kinds than files."""
    folder, link = (tmp_path / f"{path.stem}.h5" for path in phantoms[:2])
    folder.mkdir()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"\.h5 is there and is not a feature file"):
            next(embed_slides(MeanColour(), [str(phantoms[0])], tmp_path, extraction()))
    link.symlink_to("nowhere.h5")
    with pytest.raises(ConfigError, match=r"\.h5 is there and is not a feature file"):
        next(embed_slides(MeanColour(), [str(phantoms[1])], tmp_path, extraction()))
    assert sorted(tmp_path.iterdir()) == sorted([folder, link])


def test_features_of_another_slide_of_the_same_name_stay_and_fail_that_slide(
    tmp_path: Path, phantoms: list[Path]
):
    """Row 2 of the faults: another member, a slide of another folder replaced the first."""
    other = tmp_path / "other" / phantoms[0].name
    other.parent.mkdir()
    other.write_bytes(phantoms[1].read_bytes())
    out = tmp_path / "out"
    list(embed_slides(MeanColour(), [str(phantoms[0])], out, extraction()))
    before = (out / f"{other.stem}.h5").read_bytes()
    failed, done = embed_slides(MeanColour(), [str(other), str(phantoms[2])], out, extraction())
    assert (failed.status, done.status) == ("failed", "embedded")
    assert "slide_fingerprint" in failed.reason
    assert "give another folder" in failed.reason
    assert (out / f"{other.stem}.h5").read_bytes() == before


def test_equal_embeddings_are_equal_files(tmp_path: Path, phantoms: list[Path]):
    """Row 22 of the faults: another member, a whole embedding instead of one file."""
    files = []
    for num_threads in (0, 3):
        out = tmp_path / str(num_threads)
        list(embed_slides(MeanColour(), [str(phantoms[0])], out, extraction(num_threads)))
        files.append((out / f"{phantoms[0].stem}.h5").read_bytes())
    assert files[0] == files[1]


def test_a_slide_of_a_long_name_is_embedded(tmp_path: Path, phantoms: list[Path]):
    """Row 18 of the faults: the name aside of a slide of 240 bytes was too long for the disk."""
    slides = [tmp_path / ("ä" * 118 + ".svs"), tmp_path / ("b" * 251 + ".svs")]
    for slide in slides:
        slide.symlink_to(phantoms[0])
    out = tmp_path / "out"
    outcomes = list(embed_slides(MeanColour(), [str(s) for s in slides], out, extraction()))
    assert [outcome.status for outcome in outcomes] == ["embedded", "embedded"]


def test_a_slide_whose_features_have_too_long_a_name_fails_alone(
    tmp_path: Path, phantoms: list[Path]
):
    """Row 18 of the faults: another member, a name that no disk takes, such as one behind a URL."""
    far = "memory://bucket/" + "n" * 260 + ".svs"
    outcomes = list(embed_slides(MeanColour(), [far, str(phantoms[0])], tmp_path, extraction()))
    assert [outcome.status for outcome in outcomes] == ["failed", "embedded"]
    assert "File name too long" in outcomes[0].reason


def test_a_bad_slide_fails_alone(tmp_path: Path, phantoms: list[Path]):
    bad = tmp_path / "bad.svs"
    bad.write_text("no slide")
    slides = [str(phantoms[0]), str(bad), str(phantoms[1])]
    outcomes = list(embed_slides(MeanColour(), slides, tmp_path / "out", extraction()))
    assert [outcome.status for outcome in outcomes] == ["embedded", "failed", "embedded"]
    assert "not a slide" in outcomes[1].reason


def test_slides_that_would_share_a_file_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="both be written to"):
        list(embed_slides(MeanColour(), ["a/x.svs", "b/x.svs"], tmp_path, extraction()))


def test_images_are_embedded_in_order_whatever_the_batch():
    images = [np.full((64, 64, 3), level, np.uint8) for level in range(10)]
    rows = [embed_images(MeanColour(), images, batch_size=size) for size in (3, 64)]
    assert (rows[0] == rows[1]).all()
    assert rows[0][:, 0].tolist() == list(range(10))
    assert rows[0].shape == (10, 6)


def test_nothing_to_embed_is_said():
    with pytest.raises(InputError, match="no images"):
        embed_images(MeanColour(), [])


def test_a_run_and_its_export_are_the_same_encoder(tmp_path: Path, phantoms: list[Path]):
    train(tiny_config(steps=2), phantoms, tmp_path / "run", site=Site(device="cpu"))
    export_run(tmp_path / "run", tmp_path / "model")
    of_run, of_export = load_encoder(tmp_path / "run"), load_encoder(tmp_path / "model")
    assert of_run.weights_sha256 == of_export.weights_sha256
    assert of_export.mean == (0.5, 0.5, 0.5)
    assert of_export.input_size_px == of_run.input_size_px == 56
    images = np.random.default_rng(0).integers(0, 256, (2, 80, 80, 3), dtype=np.uint8)
    assert torch.equal(of_run(images).cls, of_export(images).cls)
    assert "AutoModel" in (tmp_path / "model" / "README.md").read_text()


def test_an_encoder_resizes_and_normalises_by_itself():
    torch.manual_seed(0)
    config = vit_config("nano", image_size=28)
    state = VisionTransformer(config).state_dict()
    encoder = ViTEncoder(
        "x", state, config, input_size_px=28, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    grey = np.full((1, 56, 56, 3), 255, np.uint8)
    model = VisionTransformer(config).eval()
    model.load_state_dict(state)
    with torch.inference_mode():
        expected = model(torch.full((1, 3, 28, 28), 2.0))
    assert torch.allclose(encoder(grey).cls, expected.cls, atol=1e-5)
    assert encoder(grey).patches.shape == (1, 4, 192)


def test_the_digest_of_weights_sees_every_value_and_no_order():
    first = {"a": torch.zeros(2), "b": torch.ones(1)}
    assert weights_sha256(first) == weights_sha256(dict(reversed(first.items())))
    assert weights_sha256(first) != weights_sha256({**first, "b": torch.full((1,), 1.001)})


def test_a_folder_that_is_no_model_says_so(tmp_path: Path):
    with pytest.raises(InputError, match="neither a run"):
        load_encoder(tmp_path)


def test_a_colour_histogram_knows_colours_and_no_places():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    shuffled = rng.permutation(image.reshape(-1, 3)).reshape(8, 8, 3)
    tokens = ColourHistogram(8)(np.stack([image, shuffled, 255 - image]))
    assert torch.equal(tokens.cls[0], tokens.cls[1])
    assert not torch.equal(tokens.cls[0], tokens.cls[2])
    assert torch.allclose(tokens.cls.square().sum(1), torch.ones(3))
    black = ColourHistogram(8)(np.zeros((1, 8, 8, 3), np.uint8)).cls[0]
    assert black.nonzero().ravel().tolist() == [0, 16, 32]


STUCK = """
import dataclasses, hashlib, pathlib, sys
from embed.test_extract import MeanColour, extraction
from eosin.backends import SyntheticBackend
from eosin.embed.extract import embed_slides



def open_slide(self, path):
    if "stuck" in str(path):
        print("stuck", flush=True)
        hashlib.pbkdf2_hmac("sha512", b"", b"", 2**31 - 1)  # minutes in a library, without the GIL
    return real(self, path)

real = SyntheticBackend.open
SyntheticBackend.open = open_slide
for outcome in embed_slides(
    MeanColour(), ["made://a", "made://stuck"], pathlib.Path(sys.argv[1]),
    dataclasses.replace(extraction(), backend=SyntheticBackend()),
):
    print(outcome.status, flush=True)
"""


def test_ctrl_c_ends_it_also_while_a_library_is_busy_and_what_is_done_stays(tmp_path):
    """Row 21 of the faults: a slide that hangs did not let Ctrl-C end the process."""
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(tmp_path / "features")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tests,
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent / 'src'}"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["embedded\n", "stuck\n"]
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=300)
    finally:
        process.kill()
    assert "KeyboardInterrupt" in talk
    assert [path.name for path in list_features(tmp_path / "features")] == ["a.h5"]

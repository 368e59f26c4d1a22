import json
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from eosin.backends import OpenSlideBackend
from eosin.backends.synthetic import decode_coordinates
from eosin.catalog import SlideEntry, list_slides
from eosin.errors import InputError
from eosin.filters import PatchFilter
from eosin.stream.manifest import manifest_parts, read_manifest
from eosin.stream.verify import verify_manifest
from eosin.transforms import HEDColorAugmentation, RandomFlipRotate
from eosin.views import RandomResizedCrop, ViewConfig
from made_slides import (
    break_tile,
    file_pipeline,
    smooth_tissue,
    synthetic_pipeline,
    write_folder,
    write_slide,
)

VIEWS = (
    ViewConfig(name="global", crop=RandomResizedCrop(size=24), count=2),
    ViewConfig(name="local", crop=RandomResizedCrop(size=8), transforms=RandomFlipRotate()),
)


@dataclass(frozen=True, kw_only=True)
class EvenColumns(PatchFilter):
    def accept(self, image):
        return bool(decode_coordinates(image)[0][0, 0] % 2 == 0)


def stream(folder, **settings):
    defaults = {"cycle": True, "patch_filter": EvenColumns(), "num_lanes": 2}
    return synthetic_pipeline(manifest=folder, **{**defaults, **settings})


def indices(folder):
    return read_manifest(folder)["index"].to_pylist()


def test_every_delivered_sample_has_its_row(tmp_path):
    pipeline = stream(tmp_path, views=VIEWS, shared_transforms=HEDColorAugmentation())
    results = list(islice(pipeline, 30))
    pipeline.close()
    rows = read_manifest(tmp_path).to_pylist()
    assert [row["index"] for row in rows] == list(range(30))
    for row, result in zip(rows, results, strict=True):
        at = result.coordinate
        assert (row["x_l0"], row["y_l0"], row["level"], row["mpp"]) == (
            at.x,
            at.y,
            at.level,
            at.mpp,
        )
        assert (row["read_width"], row["patch_size_px"]) == (at.read_width, at.patch_size)
        assert row["slide"] == result.slide_metadata["name"]
        assert row["fingerprint"] == result.slide_metadata["fingerprint"]
        assert json.loads(row["augmentation"]) == json.loads(json.dumps(result.augmentation))
        assert sum(json.loads(row["rejections"]).values()) == len(result.rejections)
    assert sum(len(result.rejections) for result in results) > 10


def test_what_was_only_read_ahead_is_neither_counted_nor_written_down(tmp_path):
    pipeline = stream(tmp_path, num_threads=2)
    results = list(pipeline.read_ahead(range(6)))
    assert [result.index for result in results] == list(range(6))
    assert pipeline.stats.num_delivered == 0
    for result in results[:4]:
        pipeline.deliver(result)
    pipeline.close()
    assert pipeline.stats.num_delivered == 4
    assert indices(tmp_path) == list(range(4))


def test_the_checksum_is_of_the_patch_before_augmentation(tmp_path):
    augmented = stream(tmp_path / "a", transforms=HEDColorAugmentation())
    plain = stream(tmp_path / "b")
    for one, other in zip(islice(augmented, 5), islice(plain, 5), strict=True):
        assert one.pixels_crc32 == other.pixels_crc32 == zlib.crc32(other.image.tobytes())
        assert not np.array_equal(one.image, other.image)
    assert stream(None).read(0).pixels_crc32 is None


def test_a_killed_run_goes_on_with_each_sample_once(tmp_path, monkeypatch):
    monkeypatch.setattr("eosin.stream.manifest.ROWS_PER_PART", 10)
    first = stream(tmp_path)
    list(islice(first, 23))
    state = first.state_dict()
    list(islice(first, 15))
    # Killed here: its open part is lost, and the checkpoint is older than what was written.
    assert len(indices(tmp_path)) == 33
    second = stream(tmp_path, num_threads=2)
    second.load_state_dict(state)
    list(islice(second, 40))
    second.close()
    assert indices(tmp_path) == list(range(63))
    whole = tmp_path / "whole"
    undisturbed = stream(whole)
    list(islice(undisturbed, 63))
    undisturbed.close()
    assert read_manifest(tmp_path).equals(read_manifest(whole))


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
import eosin.stream.manifest as manifest
from made_slides import synthetic_pipeline
manifest.ROWS_PER_PART = 7
for result in synthetic_pipeline(cycle=True, num_lanes=2, num_threads=2, manifest=Path({folder!r})):
    if result.index == 30:
        print("writes", flush=True)
"""


def test_a_process_killed_in_the_middle_of_writing_leaves_whole_parts_to_go_on_from(tmp_path):
    folder = tmp_path / "manifest"
    program = PROGRAM.format(tests=str(Path(__file__).parents[1]), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writes\n"
    # Until a part is being written at this very moment.
    deadline = time.monotonic() + 120
    while not list(folder.glob(".*.writing*")) and time.monotonic() < deadline:
        pass
    process.kill()
    process.communicate()
    written = indices(folder)
    assert len(written) >= 28
    assert len(written) % 7 == 0
    assert written == list(range(len(written)))
    # The checkpoint is older than the last part.
    second = stream(folder, patch_filter=None)
    second.next_index = 20
    num = len(written)
    list(islice(second, num))
    second.close()
    whole = stream(tmp_path / "whole", patch_filter=None)
    list(islice(whole, num + 20))
    whole.close()
    assert read_manifest(folder).equals(read_manifest(tmp_path / "whole"))
    assert list(folder.glob(".*")) == []


def test_what_is_delivered_again_has_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr("eosin.stream.manifest.ROWS_PER_PART", 10)
    pipeline = stream(tmp_path / "rewound")
    list(islice(pipeline, 23))
    pipeline.next_index = 4
    list(islice(pipeline, 30))
    # Out of turn, and what nobody had asked for yet.
    list(pipeline.samples([50, 3, 41, 40, 50]))
    list(islice(pipeline, 3))
    pipeline.close()
    assert indices(tmp_path / "rewound") == [*range(37), 40, 41, 50]
    whole = stream(tmp_path / "whole")
    list(whole.samples([*range(37), 40, 41, 50]))
    whole.close()
    assert read_manifest(tmp_path / "rewound").equals(read_manifest(tmp_path / "whole"))


def test_parts_appear_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("eosin.stream.manifest.ROWS_PER_PART", 10)
    monkeypatch.setattr("pyarrow.parquet.write_table", lambda table, path, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(islice(stream(tmp_path), 12))
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_out_of_turn_is_not_delivered(tmp_path):
    pipeline = stream(tmp_path)
    pipeline.read(5)
    pipeline.close()
    assert manifest_parts(tmp_path) == []
    with pytest.raises(InputError, match="has no parts of a manifest"):
        read_manifest(tmp_path)


def test_the_manifest_of_another_stream_is_left_alone(tmp_path):
    first = stream(tmp_path)
    list(islice(first, 3))
    first.close()
    with pytest.raises(InputError, match="stream with other settings"):
        next(iter(stream(tmp_path, seed=8)))
    assert indices(tmp_path) == [0, 1, 2]


# Verification


@pytest.fixture
def delivered(tmp_path):
    """A folder of slides, and a manifest of patches from them."""
    folder = write_folder(tmp_path / "slides")
    pipeline = file_pipeline(folder, manifest=tmp_path / "manifest", patches_per_slide=10)
    list(islice(pipeline, 60))
    pipeline.close()
    return folder, tmp_path / "manifest"


def verdicts(folder, manifest, **settings):
    entries = list_slides(folder)
    return verify_manifest(manifest, entries, OpenSlideBackend(), **settings)


def test_what_has_not_changed_is_verified_also_in_another_folder(delivered):
    folder, manifest = delivered
    moved = folder.rename(folder.with_name("elsewhere"))
    verified = verdicts(moved, manifest)
    assert [v.index for v in verified] == list(range(60))
    assert {v.verdict for v in verified} == {"ok"}


def test_a_sample_of_the_rows_is_enough_to_ask_for(delivered):
    some = verdicts(*delivered, num_samples=20)
    assert len({v.index for v in some}) == 20
    assert some == verdicts(*delivered, num_samples=20)
    assert some != verdicts(*delivered, num_samples=20, seed=1)


def test_missing_and_unreadable_slides_and_other_pixels_are_told(delivered):
    folder, manifest = delivered
    entries = {entry.name: entry for entry in list_slides(folder)}
    rows = read_manifest(manifest).to_pylist()
    contents = {row["slide"]: row["fingerprint"] for row in rows}
    write_slide(folder / "1.svs", smooth_tissue(700, 600, seed=9))
    for tile in range(4):
        break_tile(folder / "2.svs", tile)
    slides = (
        SlideEntry(path=entries["1.svs"].path, fingerprint=contents["1.svs"]),
        SlideEntry(path=entries["2.svs"].path, fingerprint=contents["2.svs"]),
    )
    verified = verify_manifest(manifest, slides, OpenSlideBackend(), num_samples=None)
    by_slide = {name: {v.verdict for v in verified if v.slide == name} for name in contents}
    assert by_slide["0.svs"] == {"slide missing"}
    assert by_slide["1.svs"] == {"pixels differ"}
    assert "unreadable" in by_slide["2.svs"]
    differing = next(v for v in verified if v.verdict == "pixels differ")
    assert "CRC-32 is" in differing.detail


def test_a_manifest_has_few_bytes_a_row(tmp_path):
    pipeline = stream(tmp_path, views=VIEWS, shared_transforms=HEDColorAugmentation())
    list(islice(pipeline, 200))
    pipeline.close()
    assert sum(part.stat().st_size for part in manifest_parts(tmp_path)) < 200 * 600

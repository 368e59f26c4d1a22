import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from eosin.embed.store import (
    Provenance,
    SlideFeatures,
    list_features,
    read_features,
    read_provenance,
    write_features,
)
from eosin.errors import ConfigError, InputError

PROVENANCE = Provenance(
    slide_path="slides/a slide (1).svs",
    slide_fingerprint="f00d",
    encoder="nano",
    weights_sha256="ab" * 32,
    sampling="GridSampler(stride=1.0), HSVTissueDetector()",
    mpp=0.5,
    patch_size_px=224,
    patch_size_l0=425.8,
    mean=(0.5, 0.25, 0.125),
    std=(0.5, 0.5, 0.5),
)


def some_features(num_patches=7, dim=4, dtype="float32"):
    rng = np.random.default_rng(3)
    return SlideFeatures(
        cls=rng.normal(size=(num_patches, dim)).astype(dtype),
        patch_mean=rng.normal(size=(num_patches, dim)).astype(dtype),
        coords=rng.integers(0, 99_999, size=(num_patches, 2)),
        provenance=replace(PROVENANCE, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("num_patches", [7, 0])
def test_a_file_gives_back_what_was_written(tmp_path, dtype, num_patches):
    written = some_features(num_patches, dtype=dtype)
    write_features(tmp_path / "deep" / "a.h5", written)
    read = read_features(tmp_path / "deep" / "a.h5")
    for name in ("cls", "patch_mean", "coords"):
        assert getattr(read, name).dtype == getattr(written, name).dtype
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.provenance == written.provenance


def test_other_tools_find_features_coords_and_both_halves_by_name(tmp_path):
    written = some_features()
    write_features(tmp_path / "a.h5", written)
    moved = (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    with h5py.File(moved) as file:
        np.testing.assert_array_equal(file["features"][:, :4], written.cls)
        np.testing.assert_array_equal(file["features"][:, 4:], written.patch_mean)
        np.testing.assert_array_equal(file["cls"][:], written.cls)
        np.testing.assert_array_equal(file["patch_mean"][:], written.patch_mean)
        assert file["coords"].dtype == np.int64
        assert "class token" in file.attrs["pooling"]


def test_halves_are_stored_once(tmp_path):
    write_features(tmp_path / "a.h5", some_features(2000, 64))
    assert (tmp_path / "a.h5").stat().st_size < 1.1 * (2000 * 128 * 4 + 2000 * 16)


def test_provenance_is_read_where_the_arrays_are_gone(tmp_path):
    write_features(tmp_path / "a.h5", some_features())
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["features"]
    assert read_provenance(tmp_path / "a.h5") == PROVENANCE
    with pytest.raises(InputError, match=r"a\.h5 cannot be read"):
        read_features(tmp_path / "a.h5")


def test_equal_features_are_equal_files(tmp_path):
    """Row 22 of the faults: two equal embeddings differed in the time that they were made."""
    start = int(time.time())
    for name in ("a", "b"):
        write_features(tmp_path / f"{name}.h5", some_features())
    content = (tmp_path / "a.h5").read_bytes()
    assert content == (tmp_path / "b.h5").read_bytes()
    # HDF5 keeps the second in which a dataset was made, if it is not asked to leave it out.
    seconds = range(start, int(time.time()) + 1)
    assert not [second for second in seconds if second.to_bytes(4, "little") in content]
    assert str(datetime.now(UTC).year).encode() + b"-" not in content


def test_a_file_of_an_earlier_version_which_says_when_it_was_made_is_read(tmp_path):
    write_features(tmp_path / "a.h5", some_features())
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["created"] = "2026-11-26T10:00:00+00:00"
    assert read_features(tmp_path / "a.h5").provenance == PROVENANCE


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"0" * 99])
def test_a_file_of_somebody_is_never_written_over(tmp_path, content):
    """Row 2 of the faults: whatever had the name of a feature file was replaced."""
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.h5 is there and is not"):
        write_features(tmp_path / "a.h5", some_features())
    assert (tmp_path / "a.h5").read_bytes() == content


def test_folder_and_version_do_not_make_the_work_another():
    moved = replace(PROVENANCE, slide_path="/elsewhere/x.svs", eosin_version="9")
    assert PROVENANCE.matches(moved)


@pytest.mark.parametrize(
    "change",
    [
        {"slide_fingerprint": "beef"},
        {"encoder": "tiny"},
        {"weights_sha256": "cd" * 32},
        {"sampling": "GridSampler(stride=0.5)"},
        {"mpp": 0.25},
        {"patch_size_px": 256},
        {"patch_size_l0": 400.0},
        {"mean": (0.1, 0.1, 0.1)},
        {"std": (0.1, 0.1, 0.1)},
        {"dtype": "float16"},
        {"pooling": "class token only"},
    ],
)
def test_anything_that_changes_the_features_makes_the_work_another(change):
    assert not PROVENANCE.matches(replace(PROVENANCE, **change))


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"0" * 99])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    for read in (read_features, read_provenance):
        with pytest.raises(InputError, match=r"a\.h5 cannot be read as a feature file"):
            read(tmp_path / "a.h5")


def test_a_truncated_file_is_refused(tmp_path):
    write_features(tmp_path / "a.h5", some_features())
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="embed again"):
        read_features(tmp_path / "a.h5")


def test_hdf5_of_another_program_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros((2, 8))
    with pytest.raises(InputError, match="no feature file"):
        read_provenance(tmp_path / "a.h5")


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such feature file"):
        read_features(tmp_path / "a.h5")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_features(tmp_path / "a.h5", some_features())
    before = (tmp_path / "a.h5").read_bytes()

    def fail(*_args, **_kwargs):
        raise RuntimeError("power cut")

    monkeypatch.setattr(h5py, "VirtualLayout", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        write_features(tmp_path / "a.h5", some_features(9))
    assert (tmp_path / "a.h5").read_bytes() == before
    assert list_features(tmp_path) == [tmp_path / "a.h5"]


def test_a_listing_is_sorted_and_leaves_out_files_being_written(tmp_path):
    for name in ("b.h5", "a.h5", ".c.7.writing.h5", "notes.txt"):
        (tmp_path / name).touch()
    assert list_features(tmp_path) == [tmp_path / "a.h5", tmp_path / "b.h5"]
    with pytest.raises(InputError, match="is no folder"):
        list_features(Path(tmp_path / "nowhere"))


def test_arrays_that_disagree_are_refused():
    good = some_features()
    with pytest.raises(ConfigError, match="3 coords for 7 patches"):
        replace(good, coords=good.coords[:3])
    with pytest.raises(ConfigError, match="must be equally large"):
        replace(good, patch_mean=good.patch_mean[:, :2])
    with pytest.raises(ConfigError, match="provenance says float32"):
        replace(good, cls=good.cls.astype("float16"))

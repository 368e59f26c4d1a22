"""Paths that no file can have, as a damaged index or a list of a program's own may hold them."""

import pytest

from catalog.tables import write_parquet
from eosin.backends import AutoBackend
from eosin.catalog import list_slides
from eosin.errors import InputError
from eosin.pipeline import PatchPipeline
from eosin.sampling import RandomSampler
from eosin.scan import scan_slides
from eosin.stream.retry import Retry
from eosin.tissue import HSVTissueDetector
from eosin.train.run_folder import RunFolder
from made_slides import smooth_tissue, write_slide
from scan.scanning import plan_of

PATHS = ("x" * 300 + ".svs", "a\0b.svs", "y/" * 3000 + "a.svs", "")


@pytest.fixture
def entries(tmp_path):
    good = write_slide(tmp_path / "good.svs", smooth_tissue(700, 600))
    none = [None] * (len(PATHS) + 1)
    index = write_parquet(
        tmp_path / "old.parquet", is_index=True, path=[*PATHS, good.name], problem=none,
        duplicate_of=none,
    )  # fmt: skip
    return list_slides(index)


def test_a_scan_goes_on_without_them(entries, tmp_path):
    """Row 33 of the faults: a path too long for a file name."""
    *bad, good = scan_slides(entries, tmp_path / "index.parquet", plan_of(AutoBackend()))
    assert good.problem is None
    assert all(row.problem for row in bad)


def test_a_stream_goes_on_without_them(entries):
    pipeline = PatchPipeline(
        slide_paths=entries,
        backend=AutoBackend(),
        tissue_detector=HSVTissueDetector(),
        sampler=RandomSampler(patch_size=32),
        pool_size=5,
        max_quarantined_fraction=0.9,
        retry=Retry(delays_s=()),
    )
    assert next(iter(pipeline)).slide_metadata["name"] == "good.svs"


def test_an_index_and_another_list_are_joined_with_them(entries, tmp_path):
    assert len(list_slides([tmp_path / "old.parquet", tmp_path / "good.svs"])) == len(entries)


@pytest.mark.parametrize(
    "listed",
    [
        '[{"path": 5, "metadata": {}, "fingerprint": null}]',
        '[{"path": "a", "metadata": {"x": [1]}, "fingerprint": null}]',
        '[{"path": "a", "metadata": {}, "fingerprint": 7}]',
        "[[]]",
        "[" * 100_000,
        "[" + "9" * 5000 + "]",
        "\udcff",
    ],
    ids=["path", "metadata", "fingerprint", "list", "deep", "digits", "bytes"],
)
def test_a_list_of_slides_in_a_run_that_is_none_is_refused_in_one_line(tmp_path, listed):
    """Row 33 of the faults: JSON with wrong types, deep nesting and long numbers."""
    (tmp_path / "slides.json").write_bytes(listed.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"slides\.json") as caught:
        _ = RunFolder(tmp_path).entries
    assert len(str(caught.value).splitlines()) == 1

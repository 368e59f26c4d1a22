"""One slide behind a URL that cannot be had fails that slide, and no command over the others."""

import sys

import pytest

from catalog.tables import write_csv
from embed.test_extract import MeanColour
from eosin.backends import AutoBackend
from eosin.backends.crash import CrashLog
from eosin.catalog import list_slides
from eosin.embed.extract import Extraction, embed_slides
from eosin.pipeline import PatchPipeline
from eosin.sampling import GridSampler, RandomSampler
from eosin.scan import scan_slides
from eosin.stream.retry import Retry
from eosin.stream.state import digests_of
from eosin.tissue import HSVTissueDetector
from made_slides import smooth_tissue, write_slide
from scan.scanning import plan_of


@pytest.fixture(params=["no package", "no fsspec", "nobody knows", "image"])
def entries(request, tmp_path, monkeypatch):
    """A sound slide, and one whose protocol fails in one of several ways."""
    urls = {"nobody knows": "nowhere://b/a.svs", "image": "adl://store/a.png"}
    if request.param == "no fsspec":
        monkeypatch.setitem(sys.modules, "fsspec", None)
    write_slide(tmp_path / "good.svs", smooth_tissue(700, 600))
    url = urls.get(request.param, "adl://store/a.svs")
    return list_slides(write_csv(tmp_path / "t.csv", "path", url, "good.svs"))


def test_a_scan_goes_on_without_it(entries, tmp_path):
    """Row 18 of the faults: one `s3://` row stopped a scan."""
    # Also where a process has died before, which asks for the content of each slide.
    log = CrashLog(tmp_path / "crashes")
    log.folder.mkdir()
    line = '{"slide": "x", "fingerprint": "0", "fault": "Segmentation fault"}\n'
    (log.folder / "crashes.jsonl").write_text(line)
    remote, good = scan_slides(
        entries, tmp_path / "index.parquet", plan_of(AutoBackend()), crash_log=log
    )
    assert good.problem is None
    assert remote.problem is not None
    assert "needs" in remote.problem or "Protocol not known" in remote.problem
    assert list_slides(tmp_path / "index.parquet")[0].name == "good.svs"


def test_a_stream_goes_on_without_it(entries):
    pipeline = PatchPipeline(
        slide_paths=entries,
        backend=AutoBackend(),
        tissue_detector=HSVTissueDetector(),
        sampler=RandomSampler(patch_size=32),
        pool_size=2,
        retry=Retry(delays_s=()),
    )
    names = {next(iter(pipeline)).slide_metadata["name"] for _ in range(3)}
    assert names == {"good.svs"}
    assert list(pipeline.quarantined) == [entries[0].path]
    assert len(set(digests_of(entries))) == 2


def test_features_of_the_others_are_made(entries, tmp_path):
    extraction = Extraction(
        backend=AutoBackend(),
        tissue_detector=HSVTissueDetector(),
        grid=GridSampler(patch_size=64, target_mpp=0.5),
    )
    paths = [entry.path for entry in entries]
    outcomes = list(embed_slides(MeanColour(), paths, tmp_path / "features", extraction))
    assert [outcome.status for outcome in outcomes] == ["failed", "embedded"]

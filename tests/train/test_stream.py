import json
from itertools import islice

from eosin.backends import SyntheticBackend
from eosin.catalog import list_slides
from eosin.stream.manifest import read_manifest
from eosin.tissue.store import MaskStore
from eosin.train.stream import Records, make_pipeline
from made_slides import names
from train.tiny import tiny_config


def test_a_run_keeps_on_disk_what_it_is_asked_to(tmp_path):
    masks = MaskStore(tmp_path / "masks")
    records = Records(
        quarantine_log=tmp_path / "quarantine.jsonl",
        manifest=tmp_path / "manifest",
    )
    backend = SyntheticBackend(failing=frozenset(names(1)))
    pipeline = make_pipeline(
        tiny_config(), names(4), backend=backend, mask_store=masks, records=records
    )
    results = list(islice(pipeline, 12))
    pipeline.close()
    assert read_manifest(tmp_path / "manifest").num_rows == 12
    lines = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["slide"] for line in lines] == names(1)
    assert list((tmp_path / "masks").rglob("*.png"))
    plain = make_pipeline(tiny_config(), names(4), backend=backend, prefetch_bytes=2**20)
    assert plain.prefetch_bytes == 2**20
    assert [r.coordinate for r in islice(plain, 12)] == [r.coordinate for r in results]


def test_a_run_may_train_on_some_of_a_tables_slides(tmp_path):
    table = tmp_path / "slides.csv"
    rows = "".join(f"{name},{number % 2}\n" for number, name in enumerate(names(4)))
    table.write_text(f"path,is_odd\n{rows}")
    odd = list_slides(table, where="is_odd == 1")
    pipeline = make_pipeline(tiny_config(), odd, backend=SyntheticBackend())
    assert pipeline.slides == tuple(names(4)[1::2])
    assert pipeline.read(0).slide_metadata["is_odd"] == 1

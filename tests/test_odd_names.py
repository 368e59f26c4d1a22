"""Slides whose names break text: every command works on them, and the others are not lost."""

import logging
import os
import shutil
from pathlib import Path

import pytest
from pyarrow import parquet

from eosin.catalog import list_slides
from eosin.cli import main
from eosin.embed.store import list_features, read_provenance
from eosin.names import get_logger
from eosin.stream.manifest import read_manifest
from eosin.train.run_folder import RunFolder

NAMES = (
    b"M\xfcller \xff.svs",
    "a\nb\tc\u202egpj.svs".encode(),
    "-|<i>'\"[red \U0001f600.svs".encode(),
)
SMALL = (
    "--steps=2", "--global-batch=4", "--data.num-lanes=2", "--data.pool-size=2",
    "--optim.warmup-steps=1", "--model.depth=1", "--model.embed-dim=24",
    "--dino-head.num-prototypes=16", "--ibot-head.num-prototypes=16", "--device=cpu",
    "--watch.bank-tiles=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, phantoms):
    """A folder whose own name is not UTF-8, with three sound slides and a damaged one."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path_factory.mktemp("odd")) + b"/\xfc"))
    slides = folder / "slides"
    slides.mkdir(parents=True)
    for phantom, name in zip(phantoms, NAMES, strict=True):
        shutil.copy(phantom, slides / os.fsdecode(name))
    (slides / "bad\udcff\n.svs").write_bytes(phantoms[0].read_bytes()[:60_000])
    return folder


def call(capfdbinary, *words: object) -> str:
    """Run a command that works, and return what it says on either stream."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capfdbinary.readouterr()
    assert code == 0, err.decode(errors="replace")
    # A path is printed as it is, for a script; all other lines are text.
    assert err.decode().isascii() or "\U0001f600" in err.decode()
    return out.decode(errors="surrogateescape") + err.decode()


def test_every_command_works_on_slides_of_any_name(capfdbinary, folder):
    """Row 17 of the faults: a name that is not UTF-8 ended them after the work."""
    slides, index, run = folder / "slides", folder / "index.parquet", folder / "run"
    names = {path.name for path in slides.iterdir()}
    told = call(capfdbinary, "scan", slides, "-o", index, "--recipe", "nano_cpu")
    assert r"bad\xFF\x0A.svs" in told
    with index.open("rb") as file:
        assert parquet.read_table(file)["name"].to_pylist().count(r"M\xFCller \xFF.svs") == 1
    sound = list_slides(index)
    assert {Path(entry.path).name for entry in sound} == names - {"bad\udcff\n.svs"}
    assert all(Path(entry.path).exists() for entry in sound)

    call(capfdbinary, "train", "nano_cpu", slides, "--out-dir", run, "--manifest", *SMALL)
    assert {Path(path).name for path in RunFolder(run).slides} == names
    assert {Path(path).name for path in RunFolder(run).quarantine} <= {"bad\udcff\n.svs"}
    again = call(capfdbinary, "train", "nano_cpu", slides, "--out-dir", run, "--manifest", *SMALL)
    assert "2/2 going on" in again
    assert "1 of" not in call(capfdbinary, "manifest", "verify", run / "manifest", slides)
    assert all("\n" not in name for name in read_manifest(run / "manifest")["slide"].to_pylist())

    for page in (
        call(capfdbinary, "report", run),
        call(capfdbinary, "preview", "nano_cpu", index, "-o", folder / "p.html"),
    ):
        text = Path(page.splitlines()[0]).read_bytes().decode()
        assert r"M\xFCller \xFF" in text
        assert "\u202e" not in text

    call(capfdbinary, "export", run, "-o", folder / "model")
    call(capfdbinary, "embed", folder / "model", index, "-o", folder / "features")
    sources = [read_provenance(path).slide_path for path in list_features(folder / "features")]
    assert sorted(sources) == sorted(entry.name for entry in sound)


def test_a_second_scan_knows_slides_of_any_name(capfdbinary, caplog, folder):
    index = folder / "again.parquet"
    words = ("scan", folder / "slides", "-o", index, "--recipe", "nano_cpu")
    call(capfdbinary, *words)
    before = list_slides(index)
    with caplog.at_level(logging.INFO):
        call(capfdbinary, *words)
    assert "knows 3 slides" in caplog.text
    assert r"bad\xFF\x0A.svs" in caplog.text
    assert list_slides(index) == before


def test_a_name_copied_from_an_index_is_found_by_a_table(folder):
    table = folder / "table.csv"
    table.write_text("path,organ\nslides/M\\xFCller \\xFF.svs,skin\n")
    (entry,) = list_slides(table)
    assert entry.name == os.fsdecode(NAMES[0])
    table.write_bytes(b"path,organ\nslides/M\xfcller \xff.svs,skin\n")
    assert list_slides(table) == (entry,)


def test_a_line_of_the_log_stays_one_line(caplog):
    """Row 17 of the faults: names with newlines do not break what is printed."""
    logger = get_logger(get_logger("eosin.test").name)
    logger.warning(
        "%s is like %s, %d times: %s", "a\nb\u202e.svs", Path("M\udcfc.svs"), 3, OSError("\n")
    )
    assert caplog.messages == [r"a\x0Ab\x{202E}.svs is like M\xFC.svs, 3 times: \x0A"]
    logger.warning("%s", "a table\nof two lines \udcfc")
    assert caplog.messages[1:] == ["a table\nof two lines \\xFC"]


def test_a_message_shows_a_name_once_escaped(capfdbinary, tmp_path):
    with pytest.raises(SystemExit):
        main(["scan", str(tmp_path / "none\udcff\n.svs"), "-o", str(tmp_path / "i.parquet")])
    message = capfdbinary.readouterr().err.decode().splitlines()[-1]
    assert message.startswith(rf"eosin: {tmp_path}/none\xFF\x0A.svs does not exist")

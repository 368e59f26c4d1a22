"""Every command with every output option, against a folder of files that nobody must touch.

The second of the things that the issue on faults asks to be shown.
"""

import dataclasses
import json
import os
import typing
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from eosin import journey
from eosin.cli import VERBS, main
from eosin.embed import extract
from eosin.models.config import vit_config
from eosin.models.huggingface import export_huggingface
from eosin.models.vit import VisionTransformer
from eosin.plain import to_plain
from eosin.report import preview
from eosin.report import run as run_report
from eosin.scan import run as scan_run
from eosin.train.run_folder import RunFolder
from made_slides import smooth_tissue, write_slide
from train.tiny import tiny_config

OUTPUTS = {
    "scan": ("out",),
    "bench": (),
    "train": ("out_dir",),
    "preview": ("out",),
    "manifest": (),
    "export": ("out",),
    "embed": ("out_dir",),
    "evaluate": ("out",),
    "report": ("run",),  # writes a page into it
    "demo": ("out_dir",),
}
"""Arguments that say where each command writes."""

INPUTS = frozenset({"slides", "model", "data_dir", "weights", "folder", "run"})
"""Arguments of paths that are read."""


class AnythingDone(BaseException):
    """Raised where a command begins its work; no handler of the command line takes it."""


class Fixture(typing.NamedTuple):
    precious: Path
    inputs: Path


def paths_of(verb: str) -> Iterator[str]:
    """Yield the arguments of a command that are paths."""
    for name, hint in typing.get_type_hints(VERBS[verb][0]).items():
        if "Path" in repr(hint) or name == "slides":
            yield name


@pytest.mark.parametrize("verb", VERBS)
def test_each_path_that_a_command_takes_is_known_as_input_or_output(verb: str):
    assert set(paths_of(verb)) <= INPUTS | set(OUTPUTS[verb])
    assert {name for name in paths_of(verb) if name.startswith("out")} <= set(OUTPUTS[verb])
    fields = {field.name for field in dataclasses.fields(VERBS[verb][0])}
    assert set(OUTPUTS[verb]) <= fields


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    """Make inputs that are sound, and a folder of somebody's files under all sorts of names."""
    inputs = tmp_path / "inputs"
    slides = inputs / "slides"
    slides.mkdir(parents=True)
    write_slide(slides / "a.svs", smooth_tissue(300, 300))
    config = vit_config("nano", image_size=28)
    export_huggingface(
        inputs / "model",
        VisionTransformer(config).state_dict(),
        config,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        card="",
        input_size_px=28,
    )
    for part in ("train", "test"):
        for label in ("x", "y"):
            (inputs / "tiles" / part / label).mkdir(parents=True)
            (inputs / "tiles" / part / label / "1.png").touch()
    run = RunFolder(inputs / "run")
    run.path.mkdir()
    run.claim(to_plain(tiny_config()))
    write_precious(tmp_path / "precious")
    refuse_work(monkeypatch)
    return Fixture(tmp_path / "precious", inputs)


def write_precious(folder: Path) -> None:
    texts = (
        *("notes.html", "thesis.tex", "r.json", "config.json", "slides.json", "metrics.jsonl"),
        *("report.html", "quarantine.jsonl", ".hidden", ".lock", ".a.writing.txt", "empty/.keep"),
        *("nested/deep/mine.txt", "masks/drawn.png", "manifest/gdc.tsv", "best/best.txt"),
        *("checkpoints/step_00000001/mine", "crashes/a.reading", "index.crashes/a-1-f.reading"),
        *(
            "index.masks/a.png",
            "features/a.h5",
            "model/config.json",
            "slides/train/phantom_000.svs",
        ),
        *("name with spaces.html", "ünïcode.json", "a" * 240 + ".json", "bank.npz"),
    )
    for text in texts:
        (folder / text).parent.mkdir(parents=True, exist_ok=True)
        (folder / text).write_text(f"years of work: {text}")
    (folder / "nothing").touch()
    (folder / "really empty").mkdir()
    write_slide(folder / "a.svs", smooth_tissue(300, 300, seed=1))
    with h5py.File(folder / "a.h5", "w") as clam:
        clam["coords"] = np.zeros((3, 2))
    parquet.write_table(pa.table({"path": ["a.svs"]}), folder / "index.parquet")
    (folder / "read-only.html").write_text("mine")
    (folder / "read-only.html").chmod(0o400)
    (folder / "to a file.html").symlink_to("notes.html")
    (folder / "to a folder").symlink_to("nested", target_is_directory=True)
    (folder / "to nowhere.html").symlink_to("nowhere.html")
    (folder / "to itself.html").symlink_to("to itself.html")
    os.mkfifo(folder / "pipe")


def refuse_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command fail loudly where its work begins: refusals come before."""

    def work(*_: object, **__: object) -> None:
        raise AnythingDone

    monkeypatch.setattr(scan_run, "known_slides", work)
    monkeypatch.setattr(preview, "sample_stream", work)
    monkeypatch.setattr(run_report, "sample_stream", work)
    monkeypatch.setattr(journey, "train", work)
    monkeypatch.setattr(journey, "export_huggingface", work)
    monkeypatch.setattr(journey, "chosen_teacher", work)
    monkeypatch.setattr(extract, "_embed_slide", work)
    monkeypatch.setattr("eosin.evaluate.tiles.evaluate_tiles", work)
    monkeypatch.setattr("eosin.demo._draw_slides", work)


def state_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be seen of a folder: names, kinds, modes, times, links and bytes."""
    state = {}
    for path in sorted([folder, *folder.rglob("*")]):
        seen = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        times = None if path.is_dir() else seen.st_mtime_ns
        state[str(path)] = (seen.st_mode, seen.st_ino, times, content)
    return state


def words(verb: str, here: Fixture, out: Path) -> list[list[str]]:
    """Return command lines that differ in their options and write to the same place."""
    slides = str(here.inputs / "slides")
    model, tiles, run = (str(here.inputs / name) for name in ("model", "tiles", "run"))
    lines = {
        "scan": [["scan", slides, "-o"], ["scan", slides, "--out"]],
        "preview": [["preview", "nano_cpu", slides, "-o"]],
        "train": [["train", "nano_cpu", slides, "--device=cpu", "--out-dir"]],
        "export": [["export", run, "-o"], ["export", run, "--best", "--out"]],
        "embed": [["embed", model, slides, "-o"], ["embed", model, slides, "--out-dir"]],
        "evaluate": [["evaluate", model, f"--data-dir={tiles}", "-o"]],
        "report": [["report"]],
        "demo": [["demo", "--out-dir"], ["demo", "--overwrite", "--out-dir"]],
    }
    return [[*line, str(out)] for line in lines[verb]]


WRITING = tuple(verb for verb, outputs in OUTPUTS.items() if outputs)


@pytest.mark.parametrize("verb", WRITING)
def test_no_command_touches_a_file_of_somebody_under_any_name(
    verb: str, here: Fixture, capsys: pytest.CaptureFixture[str]
):
    """Row 1 of the faults: `-o FOLDER` of preview and evaluate deleted the folder."""
    before = state_of(here.precious)
    targets = [here.precious, *sorted(here.precious.rglob("*"))]
    targets += [target / "x" for target in targets if target.suffix in (".svs", ".html")]
    num_refused = 0
    for target in targets:
        for line in words(verb, here, target):
            code: object = 0
            try:
                main(line)
            except AnythingDone:
                # Nothing is in the way of a new file or an empty folder.
                if verb == "demo":
                    (target / ".eosin-demo").unlink()
                assert is_free(verb, target), line
            except SystemExit as end:
                code = end.code
                num_refused += 1
            said = capsys.readouterr().err
            mine = [one for one in said.splitlines() if one.startswith("eosin: ")]
            assert "Traceback" not in said
            assert "[Errno" not in said
            assert len(mine) == (1 if code else 0), said
            assert state_of(here.precious) == before, line
    assert num_refused > 10


def is_free(verb: str, target: Path) -> bool:
    """Return whether a command may write somewhere without touching what is there."""
    if target.is_symlink() and not target.exists():
        return verb in ("scan", "preview", "evaluate")
    if not target.is_dir():
        return False
    if verb == "embed":
        # It adds files to a folder; the file that it would add must not be there.
        return not (target / "a.h5").exists()
    names = [path.name for path in target.iterdir()]
    if verb == "train":
        # Nor does it touch hidden files.
        names = [name for name in names if not name.startswith(".")]
    return not names and verb in ("train", "export", "demo")


def test_a_scan_beside_folders_of_somebody_with_the_names_of_its_own_leaves_them(
    here: Fixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Row 1 of the faults: another member, notes of others in `INDEX.crashes` were removed."""
    monkeypatch.undo()
    (here.precious / "index.parquet").unlink()
    before = state_of(here.precious)
    out = here.precious / "index.parquet"
    main(["scan", str(here.inputs / "slides"), "-o", str(out), "--candidates=1"])
    after = state_of(here.precious)
    assert out.exists()
    assert {path: after.get(path) for path in before} == before


def test_files_of_eosin_of_another_kind_or_that_are_read_are_no_outputs(
    here: Fixture, capsys: pytest.CaptureFixture[str]
):
    """Row 1 of the faults: another member, the output of one command named to another."""
    index, record = here.inputs / "index.parquet", here.inputs / "r.json"
    marks = {b"eosin_index": b"1"}
    table = pa.table({"path": [str(here.inputs / "slides" / "a.svs")]})
    parquet.write_table(table.replace_schema_metadata(marks), index)
    keys = ("note", "class_names", "results", "differences")
    record.write_text(json.dumps(dict.fromkeys(keys)))
    model, tiles = here.inputs / "model", f"--data-dir={here.inputs / 'tiles'}"
    lines = [
        *(["scan", index, "-o", index], ["preview", "nano_cpu", index, "-o", index]),
        *(["preview", "nano_cpu", index, "-o", record], ["evaluate", model, tiles, "-o", index]),
        *(["evaluate", model, tiles, "-o", here.inputs / "slides" / "a.svs"],),
        *(["evaluate", model, tiles, "-o", model], ["embed", model, index, "-o", model]),
        *(["export", here.inputs / "run", "-o", here.inputs / "run"],),
        *(["export", here.inputs / "run", "-o", here.inputs / "tiles"],),
        *(["embed", model, index, "-o", index], ["train", "nano_cpu", index, "--out-dir", model]),
    ]
    before = state_of(here.inputs)
    for line in lines:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in line])
        assert end.value.code == 2
        assert state_of(here.inputs) == before
        assert capsys.readouterr().err.count("\neosin: ") <= 1

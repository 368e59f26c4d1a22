import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from eosin.cli import VERBS, main
from eosin.models.config import vit_config
from eosin.models.huggingface import export_huggingface
from eosin.models.vit import VisionTransformer
from eosin.train.run_folder import RunFolder
from made_slides import write_slide

SMALL = [
    "--steps=2",
    "--global-batch=4",
    "--data.num-lanes=2",
    "--data.pool-size=2",
    "--optim.warmup-steps=1",
    "--model.depth=1",
    "--model.embed-dim=24",
    "--dino-head.num-prototypes=16",
    "--ibot-head.num-prototypes=16",
    "--device=cpu",
    "--watch.bank-tiles=16",
]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run the command line; return exit code, output and talk."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Run what must fail; return exit code and the one line that says why."""
    code, _, talk = run(capsys, *words)
    lines = [line for line in talk.splitlines() if line.startswith("eosin: ")]
    assert "Traceback" not in talk
    assert len(lines) == 1, talk
    return code, lines[0]


def test_help_names_every_command_and_imports_no_torch():
    script = (
        "import sys; from eosin.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", list(VERBS))
def test_each_command_has_help(capsys: pytest.CaptureFixture[str], verb: str):
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0
    assert f"usage: eosin {verb}" in out


def test_help_of_a_recipe_shows_its_own_values(capsys: pytest.CaptureFixture[str]):
    _, out, _ = run(capsys, "train", "nano_cpu", "--help")
    assert "--optim.base-lr FLOAT" in out
    assert "(default: 0.004)" in out


def test_a_recipe_is_trained_exported_embedded_evaluated_and_reported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    slides = phantoms[0].parent
    folder = tmp_path / "run"
    code, out, _ = run(capsys, "train", "nano_cpu", slides, "--out-dir", folder, *SMALL)
    assert (code, out.strip()) == (0, str(folder))
    assert len(RunFolder(folder).metrics()) == 2

    code, out, _ = run(capsys, "export", folder, "-o", tmp_path / "model")
    assert code == 0
    assert (tmp_path / "model" / "model.safetensors").exists()

    embed = ["embed", tmp_path / "model", slides, "-o", tmp_path / "features", "--device=cpu"]
    assert run(capsys, *embed)[0] == 0
    assert len(list((tmp_path / "features").glob("*.h5"))) == 3

    code, out, _ = run(capsys, "report", folder)
    assert code == 0
    assert Path(out.strip()).read_text().startswith("<!doctype html>")


def test_a_preview_needs_no_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    page = tmp_path / "page.html"
    code, out, _ = run(capsys, "preview", "midnight12k", phantoms[0], "-o", page)
    assert (code, out.strip()) == (0, str(page))
    assert "Views of one patch" in page.read_text()


def test_slides_are_scanned_timed_trained_on_and_verified_by_their_index(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    index, folder = tmp_path / "all slides.parquet", tmp_path / "run"
    bad = tmp_path / "bad.svs"
    bad.touch()
    scan = ["scan", *phantoms, bad, "-o", index, "--candidates=2"]
    code, out, _ = run(capsys, *scan)
    assert code == 0
    assert "4 slides" in out
    assert "3 can be used" in out
    assert "is empty (0 bytes)" in out
    assert index.with_suffix(".masks").is_dir()

    where = "--where=name != 'phantom_000.svs'"
    code, out, _ = run(capsys, "bench", index, "--recipe=nano_cpu", "--patches=4", where)
    assert code == 0
    assert "2 slides, read by tiff (2)" in out or "1 slides, read by tiff (1)" in out

    train = ["train", "nano_cpu", index, "--out-dir", folder, where, "--manifest", *SMALL]
    assert run(capsys, *train)[0] == 0
    left_out = {Path(path).name: why for path, why in RunFolder(folder).left_out.items()}
    assert left_out.keys() == {"bad.svs", "phantom_000.svs"}
    assert "is empty (0 bytes)" in left_out["bad.svs"]
    verify = ["manifest", "verify", folder / "manifest", index]
    code, out, _ = run(capsys, *verify)
    assert (code, out.strip()) == (0, "8 ok")
    code, line = fails(capsys, *verify, "--samples=0")
    assert (code, "samples=0 must be at least 1" in line) == (2, True)

    embed = ["embed", folder, index, "-o", tmp_path / "features", where, "--device=cpu"]
    assert run(capsys, *embed)[0] == 0
    names = sorted(path.name for path in (tmp_path / "features").glob("*.h5"))
    assert names == ["phantom_001.h5", "phantom_002.h5"]


def test_patches_that_are_not_what_was_delivered_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    slides, folder = tmp_path / "slides", tmp_path / "run"
    slides.mkdir()
    for path in phantoms[:2]:
        (slides / path.name).write_bytes(path.read_bytes())
    train = ["train", "nano_cpu", slides, "--out-dir", folder, "--manifest", *SMALL]
    assert run(capsys, *train)[0] == 0
    (slides / phantoms[0].name).write_bytes(phantoms[1].read_bytes())
    code, out, talk = run(capsys, "manifest", "verify", folder / "manifest", slides)
    assert code == 1
    assert phantoms[0].name in out
    assert "are not what was delivered" in talk


def test_a_slide_behind_a_url_keeps_both_its_slashes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    words = [f"file://{phantoms[0]}", "-o", tmp_path / "index.parquet", "--candidates=1"]
    code, out, _ = run(capsys, "scan", *words)
    assert code == 0
    assert "1 can be used" in out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-o", "x.txt"], 2, "x.txt must end in .parquet"),
        (["-o", "taken/x.parquet"], 2, "taken is a file, so taken/x.parquet cannot be written"),
        (
            ["-o", "x.parquet", "--recipe=nano"],
            2,
            "there is no recipe 'nano'; did you mean 'nano_cpu'?",
        ),
        (["-o", "x.parquet", "--candidates=0"], 2, "num_candidates=0"),
        (["-o", "x.parquet", "--num-threads=0"], 2, "num_threads=0"),
        (["-o", "x.parquet", "--assume-mpp=500"], 2, "assumed_mpp=500.0 is outside"),
        (["-o", "x.parquet", "--mpp-overrides", "b.svs", "0.5"], 2, "names 'b.svs', which is none"),
        (["-o", "x.parquet", "--where=name ="], 2, "cannot be understood (invalid syntax); write"),
        (["-o", "x.parquet", "--where=nme == 'a'"], 2, "did you mean 'name'"),
        (["-o", "x.parquet", "--where=name == 'b.svs'"], 1, "holds for none of 1 slides"),
    ],
)
def test_a_wrong_scan_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    says: str,
):
    monkeypatch.chdir(tmp_path)
    write_slide(tmp_path / "a.svs", np.full((300, 300, 3), 200, np.uint8))
    (tmp_path / "taken").touch()
    found_code, line = fails(capsys, "scan", "a.svs", *words)
    assert found_code == code
    assert says in line
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["trian"], 2, "there is no command 'trian'; did you mean 'train'"),
        (["train", "cat", "x", "--out-dir", "y"], 2, "there is no recipe 'cat'; choose one of"),
        (["train", "nano_cpu", "x", "--out-dir", "y", "--stepz", "4"], 2, "no option '--stepz'"),
        (["train", "nano_cpu", "x", "--out-dir", "y", "--steps", "0"], 2, "steps=0"),
        (["train", "nano_cpu", "nowhere", "--out-dir", "y"], 1, "nowhere does not exist"),
        (["train", "nano_cpu", "x", "--out-dir", "y", "--device", "quantum"], 2, "quantum"),
        (["export", "nowhere", "-o", "y"], 1, "nowhere is no run"),
        (
            ["embed", "nowhere", "x", "-o", "y"],
            1,
            "nowhere does not exist; give the folder of a run",
        ),
        (["evaluate", "nowhere", "--data-dir", "x"], 1, "x/train is no folder"),
        (["report", "nowhere"], 1, "nowhere is no run"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    says: str,
):
    monkeypatch.chdir(tmp_path)
    found_code, line = fails(capsys, *words)
    assert found_code == code
    assert says in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train", "'eosin train' needs RECIPE (Which run; its settings are the flags below) and "),
        ("scan x", "'eosin scan' needs -o PATH, --out PATH (The index to write, ending in .parq"),
        ("embed", "'eosin embed' needs MODEL (A run, or a Hugging Face folder of a DINOv2 model) "),
        ("scan -o y.parquet", "needs SLIDES: a folder of slides, slides, or a table or index of "),
        ("train nano_cpu --out-dir y", "as in: eosin train nano_cpu SLIDES ..."),
        ("train nano_cpu x --out-dir y --steps abc", "--steps: 'abc' is no integer; 'eosin train"),
        ("train nano_cpu x --out-dir y --steps", "--steps needs a value"),
        ("train nano_cpu x --out-dir y --optim.betas 1", "--optim.betas needs 2 values"),
        ("train nano_cpu x --out-dir y --optim.base-lr 0,1", "--optim.base-lr: '0,1' is no number"),
        ("scan x -o y.parquet --assume-mpp 0,25", "--assume-mpp: '0,25' is no number"),
        ("embed m x -o y --stride a", "--stride: 'a' is no integer"),
        ("train nano_cpu x --out-dir y --precision half", "'half' is none of 'auto', 'float32', "),
        ("train nano_cpu x --out-dir y --data.sampler.target-mpps 1,2", "separated by spaces"),
        ("scan x -o y.parquet --mpp-overrides a", "--mpp-overrides needs pairs of a name and a "),
        ("report a b", "'eosin report' has no place for 'b'"),
        ("embed m x -o y -p 3", "'eosin embed' has no option '-p'"),
        ("scan x --output y.parquet", "no option '--output'; did you mean '--out'"),
        ("train nano_cpu x --warmup-steps=3", "did you mean '--optim.warmup-steps'"),
        ("train nano_cpu x --out-dir y --stepz 4", "no option '--stepz'; did you mean '--steps'"),
        ("train nano_cpu x --out-dir y --batch-size 4", "did you mean '--global-batch'"),
        ("scan x -o y.parquet --zzzz", "no option '--zzzz'; 'eosin scan --help' lists them"),
        ("help", "there is no command 'help'; there are scan, bench, train, preview, manifest,"),
        ("demo --steps 0", "steps=0 must be at least 1"),
        ("demo --steps=-4", "steps=-4 must be at least 1"),
    ],
)
@pytest.mark.parametrize("columns", ["20", "80", "1000"])
def test_what_the_command_line_refuses_is_one_line_in_one_style_on_any_terminal(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    says: str,
    columns: str,
):
    """Section E of the faults: some came in a red box, and no unknown flag with a suggestion."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", columns)
    code, out, talk = run(capsys, *words.split())
    assert (code, out) == (2, "")
    assert says in talk
    assert re.fullmatch(r"eosin: \S.*\S\n", talk)
    assert not any(mark in talk for mark in "│╭─╰|\x1b")
    assert list(tmp_path.iterdir()) == []


def test_slides_of_a_demo_that_are_not_there_are_missed_before_phantoms_are_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    words = ["demo", "--slides", tmp_path / "nowhere", "--out-dir", tmp_path / "demo"]
    code, line = fails(capsys, *words)
    assert (code, "nowhere does not exist" in line) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.svs", b"this is no slide", "is not a slide that OpenSlide can read"),
        ("empty.svs", b"", "is empty (0 bytes)"),
    ],
)
def test_a_bad_slide_alone_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: bytes, says: str
):
    (tmp_path / name).write_bytes(content)
    code, line = fails(
        capsys, "train", "nano_cpu", tmp_path / name, "--out-dir", tmp_path / "run", *SMALL
    )
    assert code == 1
    assert says in line


def test_a_slide_without_microns_per_pixel_says_how_to_give_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    slide = write_slide(
        tmp_path / "unmeasured.svs", np.full((1024, 1024, 3), (150, 90, 180), np.uint8), mpp=None
    )
    words = ["train", "nano_cpu", slide, "--out-dir", tmp_path / "run", *SMALL]
    code, line = fails(capsys, *words)
    assert code == 1
    assert "does not say its microns per pixel; give its microns per pixel, with" in line
    assert "--mpp-overrides NAME UM" in line


def test_a_bad_slide_does_not_keep_others_from_being_embedded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    run_folder, bad = tmp_path / "run", tmp_path / "bad.svs"
    bad.write_text("no slide")
    assert run(capsys, "train", "nano_cpu", *phantoms, "--out-dir", run_folder, *SMALL)[0] == 0
    words = ["embed", run_folder, bad, phantoms[0], "-o", tmp_path / "features", "--device=cpu"]
    code, line = fails(capsys, *words)
    assert code == 1
    assert "1 slides could not be embedded" in line
    assert len(list((tmp_path / "features").glob("*.h5"))) == 1


def test_the_recipe_comes_first_or_nothing_is_trained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    code, line = fails(capsys, "train", "--out-dir", tmp_path / "run", "nano_cpu", tmp_path)
    assert code == 2
    assert "name the recipe first" in line


def test_an_export_replaces_nothing_but_an_export(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    folder = tmp_path / "run"
    assert run(capsys, "train", "nano_cpu", *phantoms, "--out-dir", folder, *SMALL)[0] == 0
    taken = ((folder, "is read by this command"), (tmp_path, "that is not an export"))
    for out, says in taken:
        code, line = fails(capsys, "export", folder, "-o", out)
        assert code == 2
        assert says in line
    for _ in range(2):
        assert run(capsys, "export", folder, "-o", tmp_path / "model")[0] == 0
    assert len(RunFolder(folder).metrics()) == 2


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    (tmp_path / "file").touch()
    for out_dir in (tmp_path / "file", tmp_path / "file" / "run"):
        words = ["train", "nano_cpu", *phantoms, "--out-dir", out_dir, *SMALL]
        code, line = fails(capsys, *words)
        assert code == 2
        assert f"{tmp_path / 'file'} is a file, so {out_dir} cannot be the folder of a run" in line


def test_a_package_that_is_missing_is_named_with_its_extra(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    error = ModuleNotFoundError("No module named 'torch'", name="torch")
    monkeypatch.setattr("eosin.cli._run", lambda words: (_ for _ in ()).throw(error))
    code, line = fails(capsys, "train")
    assert (code, "pip install 'eosin[train]'" in line) == (1, True)


def test_a_report_is_written_when_the_slides_and_the_versions_are_gone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    slide = tmp_path / "slides" / "a.svs"
    slide.parent.mkdir()
    slide.write_bytes(phantoms[0].read_bytes())
    folder = tmp_path / "run"
    assert run(capsys, "train", "nano_cpu", slide, "--out-dir", folder, *SMALL)[0] == 0
    slide.unlink()
    (folder / "versions.json").unlink()
    code, out, _ = run(capsys, "report", folder)
    assert code == 0
    page = Path(out.strip()).read_text()
    assert "The slides cannot be shown" in page
    assert "base_lr" in page
    assert "versions = unknown" in page


def test_a_folder_without_slides_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    code, line = fails(capsys, "train", "nano_cpu", tmp_path, "--out-dir", tmp_path / "run", *SMALL)
    assert code == 1
    assert "has no slides; looked for files ending in" in line


def test_a_bad_slide_among_good_ones_is_named_and_the_run_goes_on(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    bad = tmp_path / "empty.svs"
    bad.touch()
    words = ["train", "nano_cpu", *phantoms, bad, "--out-dir", tmp_path / "run", *SMALL]
    code, _, _ = run(capsys, *words)
    assert code == 0
    assert f"not used: {bad}: is empty (0 bytes)" in caplog.text


def small_export(folder: Path) -> Path:
    config = vit_config("nano", image_size=28)
    kind = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size_px": 28}
    export_huggingface(folder, VisionTransformer(config).state_dict(), config, card="", **kind)
    return folder


def small_tiles(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, level in (("dark", 40), ("light", 200)):
            (folder / part / label).mkdir(parents=True)
            for number in range(6):
                noise = rng.integers(0, 30, (28, 28, 3)) + level
                cv2.imwrite(str(folder / part / label / f"{number}.png"), noise.astype(np.uint8))
    return folder


def test_a_place_that_takes_no_numbers_is_refused_before_they_are_computed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    """Row 22 of the faults: `evaluate -o FILE/r.json` lost the numbers after the work."""
    (tmp_path / "file").touch()
    words = ["evaluate", tmp_path / "no model yet", "--data-dir", small_tiles(tmp_path / "tiles")]
    code, line = fails(capsys, *words, "-o", tmp_path / "file" / "r.json")
    assert (code, f"{tmp_path / 'file'} is a file, so " in line) == (2, True)


def test_numbers_are_printed_also_where_they_cannot_be_written_and_written_where_nobody_reads_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Row 22 of the faults: another member, a disk full after the work, or a broken pipe."""
    model, tiles = small_export(tmp_path / "model"), small_tiles(tmp_path / "tiles")
    words = ["evaluate", model, "--data-dir", tiles, "--device=cpu", "-o", tmp_path / "r.json"]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        code, out, talk = run(capsys, *words)
    assert code == 1
    assert re.search("trained +knn +accuracy", out)
    reason = "r.json cannot be written: No space left on device; free some space and start again"
    assert talk.splitlines()[-1] == f"eosin: {tmp_path}/{reason}"
    assert not (tmp_path / "r.json").exists()

    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patched:
        patched.setattr("builtins.print", closed)
        assert run(capsys, *words)[0] == 1
    assert len(json.loads((tmp_path / "r.json").read_text())["results"]) == 2
    assert run(capsys, *words)[0] == 0, "its own output is replaced"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FileNotFoundError(2, "No such file or directory", "a/b.svs"), "a/b.svs; No such file or "),
        (OSError(28, "No space left on device"), "No space left on device; free some space"),
        (OSError(24, "Too many open files"), "Too many open files; allow the process more open"),
        (OSError("a library's own words"), "a library's own words"),
    ],
)
def test_what_the_system_says_is_one_line_with_the_file_and_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: OSError, says: str
):
    """Section E of the faults: '[Errno 2]' was shown raw."""

    def fail(_: list[str]) -> None:
        raise error

    monkeypatch.setattr("eosin.cli._run", fail)
    code, line = fails(capsys, "scan")
    assert code == 1
    assert line.startswith(f"eosin: {says}")
    assert "Errno" not in line


def test_evaluation_prints_numbers_and_keeps_predictions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "tiles" / part / label
            folder.mkdir(parents=True)
            for number in range(6):
                noise = rng.integers(0, 30, (56, 56, 3)) + level
                cv2.imwrite(str(folder / f"{number}.png"), noise.astype(np.uint8))
    folder = tmp_path / "run"
    assert run(capsys, "train", "nano_cpu", *phantoms, "--out-dir", folder, *SMALL)[0] == 0
    words = ["evaluate", folder, "--data-dir", tmp_path / "tiles", "-o", tmp_path / "out.json"]
    code, out, _ = run(capsys, *words, "--with-initial")
    assert code == 0
    models = ["colour histogram", "random", "trained", "trained - random"]
    assert [line[:16].strip() for line in out.splitlines()] == [m for m in models for _ in "12"]
    assert "colour histogram  knn     accuracy 1.000" in out
    record = json.loads((tmp_path / "out.json").read_text())
    assert len(record["results"]["trained"][0]["predictions"]) == 12
    code, line = fails(capsys, "evaluate", tmp_path, "--data-dir", tmp_path / "tiles")
    assert (code, "is neither a run" in line) == (1, True)

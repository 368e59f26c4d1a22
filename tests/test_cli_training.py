"""What the command line says and does around a run: machines, weights, stops, and which teacher."""

import logging
import signal
from pathlib import Path

import pytest

from eosin import appraisal, cli
from eosin.cli import EXIT_INTERRUPTED
from eosin.train import loop
from eosin.train.config import TrainConfig
from eosin.train.memory import MemoryEstimate, estimate_memory
from eosin.train.run_folder import RunFolder
from eosin.verbs import training
from test_cli import SMALL, fails, run


def train(capsys: pytest.CaptureFixture[str], slides: list[Path], out: Path, *words: str) -> tuple:
    return run(capsys, "train", "nano_cpu", slides[0].parent, "--out-dir", out, *SMALL, *words)


def test_a_run_says_what_it_needs_before_it_starts(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    caplog.set_level(logging.INFO)
    assert train(capsys, phantoms, tmp_path / "run")[0] == 0
    assert "memory of a device, estimated:" in caplog.text
    assert "learning rate 0.00025 at a batch of 4" in caplog.text


def test_a_preset_fits_the_run_to_the_machine_and_keeps_a_batch_that_was_given(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    caplog.set_level(logging.INFO)
    assert train(capsys, phantoms, tmp_path / "run", "--preset=cpu")[0] == 0
    assert "cpu: 1 x 8 GiB; a step of 4 patches" in caplog.text
    assert "x sqrt(4 / 1024)" in caplog.text
    assert RunFolder(tmp_path / "run").train_config.global_batch == 4


def test_the_memory_of_a_run_on_a_cpu_is_counted_as_a_cpu_computes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    caplog.set_level(logging.INFO)
    devices = []

    def estimate(config: TrainConfig, *, is_gpu: bool, **layout: object) -> MemoryEstimate:
        devices.append(is_gpu)
        return estimate_memory(config, is_gpu=is_gpu)

    monkeypatch.setattr(training, "estimate_memory", estimate)
    assert train(capsys, phantoms, tmp_path / "run", "--device=cpu")[0] == 0
    assert devices == [False]


def test_a_machine_that_is_too_small_is_warned_of_before_the_run_starts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    monkeypatch.setattr("eosin.train.machine.memory_gib", lambda _: 0.5)
    assert train(capsys, phantoms, tmp_path / "run", "--preset=gpu12")[0] == 0
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "--preset gpu12 is for a GPU, and this run is on cpu" in warned[0]
    assert "cpu has 0.5 GiB; fit the run to the machine with --preset" in warned[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preset=gpu13"], "there is no preset 'gpu13'; choose one of cpu"),
        (["--preset=cpu", "--accumulation-steps=2"], "leave out --accumulation-steps 2"),
        (["--preset=cpu", "--layout.num-replicas=2"], "leave out --layout.num-replicas 2"),
        (["--preset=8xgpu80", "--global-batch=64"], "is for 8 processes and this is 1"),
        (["--start=backbone"], "needs the weights of a backbone"),
        (["--weights=nowhere"], "would not be used, as the run starts at random"),
    ],
)
def test_what_does_not_fit_the_machine_or_the_weights_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    phantoms: list[Path],
    words: list[str],
    says: str,
):
    slides, out = phantoms[0].parent, tmp_path / "run"
    code, line = fails(capsys, "train", "nano_cpu", slides, "--out-dir", out, *SMALL, *words)
    assert code == 2
    assert says in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["slides", "nano_cpu"],
            "'slides' is no recipe, and RECIPE comes first: eosin {} nano_cpu",
        ),
        (["slides", "a.svs", "uni"], "RECIPE comes first: eosin {} uni slides"),
        (["nowhere", "nano_cpu"], "RECIPE comes first: eosin {} nano_cpu nowhere"),
        (["slides"], "eosin {} RECIPE slides; a recipe is one of midnight12k, nano_cpu"),
        (["midnight_12k", "slides"], "no recipe 'midnight_12k'; did you mean 'midnight12k'? There"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "preview"])
def test_slides_in_the_place_of_the_recipe_and_a_slip_in_its_name_are_said_to_be_so(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    words: list[str],
    says: str,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slides").mkdir()
    option = "--out-dir" if verb == "train" else "-o"
    code, line = fails(capsys, verb, *words, option, "uni")
    assert code == 2
    assert says.format(verb) in line


def test_the_value_of_an_option_is_not_taken_for_the_recipe(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    code, line = fails(capsys, "train", "cat", "x", "--out-dir", "uni")
    assert code == 2
    assert "there is no recipe 'cat'; choose one of" in line


def test_a_folder_of_somebodys_is_not_made_a_run_and_stays_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    (tmp_path / "notes.txt").write_text("see the darkest slide")
    words = ["train", "nano_cpu", phantoms[0].parent, "--out-dir", tmp_path, *SMALL]
    code, line = fails(capsys, *words)
    assert code == 2
    assert f"{tmp_path} is no run and holds notes.txt; give an out_dir that is empty" in line
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_ended_before_its_settings_were_written_leaves_the_folder_free(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    folder, slides = tmp_path / "run", phantoms[0].parent
    assert train(capsys, phantoms, tmp_path / "narrow")[0] == 0
    words = [*SMALL, "--model.embed-dim=48", "--start=backbone", f"--weights={tmp_path / 'narrow'}"]
    code, line = fails(capsys, "train", "nano_cpu", slides, "--out-dir", folder, *words)
    assert (code, "does not fit this model" in line) == (1, True)
    assert any(folder.iterdir())
    assert not RunFolder(folder).exists()
    assert train(capsys, phantoms, folder)[0] == 0


def test_other_classes_in_the_test_part_are_noticed_before_a_model_is_opened(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = []
    monkeypatch.setattr(appraisal, "open_models", lambda *_, **__: opened.append(1) or {})
    for part, names in (("train", "ab"), ("test", "ac")):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "0.png").touch()
    code, line = fails(capsys, "evaluate", "model", "--data-dir", tmp_path)
    assert code == 1
    assert "classes b only in train/ and c only in test/" in line
    assert opened == []


def test_a_run_that_is_asked_to_stop_exits_with_75_and_goes_on(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    phantoms: list[Path],
    monkeypatch: pytest.MonkeyPatch,
):
    one_step = loop.train_step

    def step_while_a_signal_comes(*arguments: object) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return one_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step_while_a_signal_comes)
        code, _, talk = train(capsys, phantoms, tmp_path / "run")
    assert code == EXIT_INTERRUPTED
    assert "saved after 1 steps; give the same command to go on" in talk
    assert train(capsys, phantoms, tmp_path / "run")[0] == 0
    assert [record["step"] for record in RunFolder(tmp_path / "run").metrics()] == [0, 1]


def test_the_best_teacher_and_the_mean_of_several_are_exported_with_a_card_that_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    folder = tmp_path / "run"
    words = [
        "--watch.keep-best=watch_rankme",
        "--watch.every-steps=1",
        "--checkpoint-every-steps=1",
    ]
    assert train(capsys, phantoms, folder, *words)[0] == 0
    for option, says in (
        ("--best", "best teacher by watch_rankme"),
        ("--average=2", "The mean of"),
    ):
        out = tmp_path / option.strip("-")
        assert run(capsys, "export", folder, "-o", out, option)[0] == 0
        card = (out / "README.md").read_text()
        assert says in card
        assert "The recipe `nano_cpu`" in card


def test_a_short_run_needs_no_other_flag_than_its_steps(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    phantoms: list[Path],
):
    """Section E of the faults: --steps 40 stopped at a warm-up of 60 steps."""
    caplog.set_level(logging.INFO)
    small = [word for word in SMALL if not word.startswith(("--steps", "--optim.warmup"))]
    words = ["train", "nano_cpu", phantoms[0].parent, "--out-dir", tmp_path / "run", *small]
    assert run(capsys, *words, "--steps", "40", "--extend", "--help")[0] == 0
    assert run(capsys, *words, "--steps=20", "--checkpoint-every-steps=2", "--steps", "2")[0] == 0
    assert "for 2 steps instead of 600: optim.warmup_steps=0" in caplog.text
    assert RunFolder(tmp_path / "run").train_config.optim.warmup_steps == 0


def test_a_warm_up_that_is_given_is_taken_as_it_is_or_refused(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    given = []
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(cli.VERBS, "train", (training.TrainVerb, given.append))
    words = ["train", "midnight12k", "x", "--out-dir", tmp_path, "--steps", "1000"]
    assert run(capsys, *words, "--optim.warmup-steps", "900")[0] == 0
    (args,) = given
    optim, teacher = args.config.optim, args.config.teacher
    assert (optim.warmup_steps, optim.freeze_last_layer_steps) == (900, 1)
    assert teacher.warmup_temperature_steps == 37
    (line,) = caplog.messages
    assert line == (
        "for 1000 steps instead of 1000000: optim.freeze_last_layer_steps=1, "
        "teacher.warmup_temperature_steps=37"
    )
    code, line = fails(capsys, *words, "--optim.warmup-steps", "1001")
    assert (code, "optim.warmup_steps=1001 must be at most 1000" in line) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["midnight12k"], 2, "start='backbone' needs the weights of a backbone"),
        (["midnight12k", "--weights=nowhere"], 1, "nowhere does not exist; give a file or folder"),
        (["nano_cpu"], 1, "slides does not exist"),
    ],
)
def test_what_is_missing_is_said_before_the_memory_that_a_run_would_need(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    words: list[str],
    code: int,
    says: str,
):
    """Section E of the faults: 1,541 GiB came before the weights that were not given."""
    caplog.set_level(logging.INFO)
    name, *more = words
    out = tmp_path / "run"
    found, line = fails(capsys, "train", name, tmp_path / "slides", "--out-dir", out, *more)
    assert (found, says in line) == (code, True)
    assert "GiB" not in caplog.text


def test_a_run_that_goes_on_needs_its_weights_no_more(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantoms: list[Path]
):
    assert train(capsys, phantoms, tmp_path / "first")[0] == 0
    words = ["--start=backbone", "--checkpoint-every-steps=1"]
    weights = f"--weights={tmp_path / 'first'}"
    assert train(capsys, phantoms, tmp_path / "second", *words, weights)[0] == 0
    assert train(capsys, phantoms, tmp_path / "second", *words)[0] == 0

"""Every `eosin train` that the documents tell people to type could start, up to its slides."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from eosin import cli
from eosin.loader import Share
from eosin.train.presets import PRESETS
from eosin.verbs.training import TrainVerb, fit_to_machine

ROOT = Path(__file__).resolve().parents[1]
SLURM = ROOT / "examples" / "slurm"
TRAIN = re.compile(r"(?:^|\s)eosin train |^sbatch \S*train\.sbatch ")


class Command(NamedTuple):
    where: str
    words: tuple[str, ...]
    """What `eosin` is given."""
    num_processes: int


def documented() -> list[Command]:
    files = [ROOT / "README.md", ROOT / "docs" / "training.md", *sorted(SLURM.iterdir())]
    return [
        command(file, line)
        for file in files
        for line in typed_lines(file)
        if TRAIN.search(line) and "RECIPE" not in line and '"$@"' not in line
    ]


def typed_lines(file: Path) -> list[str]:
    """Return the indented lines of a document or of comments; lines that go on become one.

    What stands behind two or more spaces explains a line.
    """
    begin = r"^#? {3,4}(?=\S)"
    text = re.sub(r" *\\\n#? +", " ", file.read_text())
    lines = [re.sub(begin, "", line) for line in text.splitlines() if re.match(begin, line)]
    return [re.split(r" {2,}", line)[0] for line in lines]


def command(file: Path, line: str) -> Command:
    words = line.split()
    if words[0] == "sbatch":
        script = (SLURM / "train.sbatch").read_text()
        nodes, each = (
            int(re.search(rf"^#SBATCH --{name}=(\d+)$", script, re.M)[1])
            for name in ("nodes", "ntasks-per-node")
        )
        return Command(file.name, ("train", *shlex.split(line)[2:]), nodes * each)
    given = re.search(r"--nproc-per-node (\d+)", line)
    after = shlex.split(line[line.index("eosin train") :])[1:]
    return Command(file.name, tuple(after), int(given[1]) if given else 1)


COMMANDS = documented()


def test_the_documents_with_commands_are_found():
    found = {(one.where, one.num_processes) for one in COMMANDS}
    assert found == {
        ("README.md", 1),
        ("README.md", 8),
        ("training.md", 8),
        ("README.md", 32),
        ("train.sbatch", 32),
    }


@pytest.mark.parametrize("documented", COMMANDS, ids=lambda one: f"{one.where}-{one.num_processes}")
def test_a_documented_command_could_start(documented: Command, monkeypatch: pytest.MonkeyPatch):
    given: list[TrainVerb] = []
    monkeypatch.setitem(cli.VERBS, "train", (TrainVerb, given.append))
    cli.main(documented.words)
    (args,) = given
    monkeypatch.setenv("WORLD_SIZE", str(documented.num_processes))
    run, layout, memory, _ = fit_to_machine(args, is_gpu=args.preset is not None)
    share = Share(
        batch_size=run.global_batch,
        num_parts=run.accumulation_steps,
        world_size=documented.num_processes,
    )
    share.check_lanes(run.data.num_lanes)
    assert documented.num_processes % layout.num_replicas == 0
    assert (args.weights is not None) == (run.start != "random")
    assert memory.total < PRESETS[args.preset or "cpu"].memory_gib

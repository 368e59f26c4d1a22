"""The folder of a run: what it is, what it measured, where it can go on.

config.json      every setting           metrics.jsonl    one line a step
slides.json      the slide list          quarantine.json  slides that could not be used
versions.json    packages and commit     checkpoints/     see checkpoint.py
masks/           tissue masks            quarantine.jsonl all that could not be read, as it happened
manifest/        what was trained on     crashes/         what processes read that died of it
start.json       the weights at step 0   nonfinite.jsonl  steps that were skipped, and their samples
recipe.json      what config began as    left_out.json    slides that were named and not taken
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, final

from eosin.atomic import atomic_file, remove_leftovers, remove_own_files, write_atomic
from eosin.backends.base import SlideBackend
from eosin.backends.crash import CrashLog
from eosin.catalog import SlideEntry
from eosin.errors import CheckpointError, InputError, TrainingError, system_reason
from eosin.names import get_logger
from eosin.plain import TYPE_KEY, Plain, differences, from_json, from_plain, to_json
from eosin.reading import read_regular
from eosin.stream.manifest import PART as MANIFEST_PART
from eosin.train.config import TrainConfig
from eosin.train.folder_lock import locked
from eosin.train.slide_list import slide_list_text, slides_of
from eosin.train.stream import Records
from eosin.train.versions import versions_here

logger = get_logger(__name__)

BEFORE_CONFIG = frozenset({"checkpoints", "crashes", "masks", "quarantine.jsonl"})
"""What training makes before `config.json`, of a run that was stopped there or of another process
that was faster; it holds under any settings."""
OF_A_START = (
    *("bank.npz", "best", "manifest", "tensorboard", "wandb.json", "quarantine.json"),
    *("start.json", "recipe.json", "slides.json", "backend.json", "versions.json"),
    "left_out.json",
    *("metrics.jsonl", "nonfinite.jsonl"),  # empty ones
    "config.json",  # last, as it says that the others may be there
)
"""What depends on the settings of a run, of monitors too, and goes with a start that failed."""
CHECKPOINT_FILES = re.compile(
    r"state/(__\d+_\d+\.distcp|\.metadata(\.tmp)?)|state\.pt|stream\.json|teacher\.safetensors|"
    r"\.complete"
)
"""What a run makes in the folder of a checkpoint, also in earlier versions."""
OWN_FILES = {
    "checkpoints": re.compile(rf"step_\d+/({CHECKPOINT_FILES.pattern})"),
    "crashes": re.compile(r"crashes\.jsonl|[^/]+\.(reading|fault)"),
    "masks": re.compile(r"[0-9a-f]+/[0-9a-f]+\.png"),
    "manifest": MANIFEST_PART,
    "best": re.compile(r"teacher\.safetensors|best\.json"),
    "tensorboard": re.compile(r"events\.out\.tfevents\..*"),
}
"""What a run makes in its folders, by their names; whatever else is there is somebody's."""
Number = float | int


@final
class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.masks = path / "masks"
        self.manifest = path / "manifest"
        self.nonfinite = path / "nonfinite.jsonl"
        self.crash_log = CrashLog(path / "crashes")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the same run.

        Raises:
            ConfigError: If another process does at this moment.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            remove_leftovers(self.path, of="[a-z]+")
            remove_leftovers(self.checkpoints, of=r"step_\d+")
            yield

    def exists(self) -> bool:
        """Return whether a run has claimed the folder, of whichever version."""
        # Models of Hugging Face have a config.json too.
        return self._has("config.json") and str(self.config.get(TYPE_KEY)).endswith(".TrainConfig")

    def has_trained(self) -> bool:
        """Return whether a step was written down or saved."""
        num_bytes = sum(path.stat().st_size for path in self.path.glob("metrics.jsonl"))
        return num_bytes > 0 or any(self.checkpoints.glob("step_*"))

    def forget_start(self) -> None:
        """Give up a claim, with what depends on its settings; for a run that has not trained.

        What somebody has put into the folders stays.
        """
        for path in (self.path / name for name in OF_A_START):
            if path.is_dir():
                remove_own_files(path, OWN_FILES[path.name])
            else:
                path.unlink(missing_ok=True)

    def claim(self, config: Plain) -> None:
        """Write down the settings; a run that goes on must have the same as before.

        Raises:
            CheckpointError: If the folder holds a run of other settings, naming each.
        """
        config_path = self.path / "config.json"
        if config_path.exists():
            changed = list(differences(self.config, config))
            if changed:
                raise CheckpointError(
                    f"{self.path} holds a run with other settings ({'; '.join(changed[:5])}); "
                    "give the same settings to go on with it, or another out_dir"
                )
        else:
            write_atomic(config_path, to_json(config, indent=1))

    def write_recipe(self, name: str) -> None:
        """Write down which recipe the settings began as."""
        write_atomic(self.path / "recipe.json", to_json({"name": name}))

    @property
    def recipe(self) -> str | None:
        """The recipe that the settings began as; None where that was not written down."""
        return str(self._read("recipe.json")["name"]) if self._has("recipe.json") else None

    def write_left_out(self, left_out: Mapping[str, str]) -> None:
        """Write down which slides were named and not taken, with the reasons."""
        write_atomic(self.path / "left_out.json", to_json(dict(left_out), indent=1))

    @property
    def left_out(self) -> dict[str, str]:
        """Slides that were named and not taken, with the reasons; none if not written down.

        Raises:
            InputError: If the file holds something else.
        """
        found = self._read("left_out.json") if self._has("left_out.json") else {}
        if not isinstance(found, dict):
            raise InputError(f"{self.path / 'left_out.json'} holds no slides; remove it")
        return {str(path): str(why) for path, why in found.items()}

    def write_start(self, start: Mapping[str, object]) -> None:
        """Write down which weights the run starts from."""
        write_atomic(self.path / "start.json", to_json(start, indent=1))

    def write_down(self, slides: Sequence[SlideEntry], backend: Plain) -> None:
        """Write down what the run reads, and with which versions."""
        write_atomic(self.path / "slides.json", slide_list_text(slides))
        write_atomic(self.path / "backend.json", to_json(backend, indent=1))
        write_atomic(self.path / "versions.json", to_json(versions_here(), indent=1))

    def stream_records(self, *, has_manifest: bool, anonymous: bool = False) -> Records:
        """Return where the run's stream writes down what happens to it."""
        return Records(
            quarantine_log=self.path / "quarantine.jsonl",
            manifest=self.manifest if has_manifest else None,
            crash_log=self.crash_log,
            anonymous=anonymous,
        )

    @property
    def config(self) -> dict[str, Plain]:
        """The settings of the run, as plain values.

        Raises:
            InputError: If the folder holds no run.
        """
        config = self._read("config.json")
        if not isinstance(config, dict):
            raise InputError(f"{self.path / 'config.json'} holds no settings of a run")
        return config

    @property
    def train_config(self) -> TrainConfig:
        """The settings of the run, as they were given.

        Raises:
            InputError: If the folder holds no run, or one of another version.
        """
        config = from_plain(self.config)
        if not isinstance(config, TrainConfig):
            raise InputError(f"{self.path / 'config.json'} holds no settings of a run")
        return config

    @property
    def entries(self) -> tuple[SlideEntry, ...]:
        """The slides that the run streams from, with what its list knew of them."""
        return slides_of(self._read("slides.json"), self.path / "slides.json")

    @property
    def slides(self) -> list[str]:
        """Paths of the slides that the run streams from."""
        return [entry.path for entry in self.entries]

    @property
    def backend(self) -> SlideBackend:
        """What the run reads slides with, such as the microns per pixel it was told."""
        backend = from_plain(self._read("backend.json"))
        if not isinstance(backend, SlideBackend):
            raise InputError(f"{self.path / 'backend.json'} holds no reader of slides")
        return backend

    @property
    def versions(self) -> dict[str, str]:
        """Packages and commit that the run was last started with; none if not written down."""
        return dict(self._read("versions.json")) if self._has("versions.json") else {}

    @property
    def quarantine(self) -> dict[str, str]:
        """Slides that could not be used, each with the reason."""
        return dict(self._read("quarantine.json")) if self._has("quarantine.json") else {}

    def write_quarantine(self, quarantined: Mapping[str, str]) -> None:
        """Write down the slides that could not be used, when there are any.

        Raises:
            TrainingError: If it cannot be written, such as on a full disk.
        """
        path = self.path / "quarantine.json"
        if quarantined:
            with _told_what_to_do(path):
                write_atomic(path, to_json(dict(quarantined), indent=1))

    def metrics(self) -> list[dict[str, Number]]:
        """Return one record a step, oldest first; damaged lines are left out with a warning."""
        return list(_records(self.path / "metrics.jsonl"))

    def forget_steps_from(self, step: int) -> None:
        """Drop what was written down of steps that will be done again."""
        for path in (self.path / "metrics.jsonl", self.nonfinite):
            if path.exists():
                with atomic_file(path) as aside, aside.open("w") as file:
                    for record in _records(path):
                        if record["step"] < step:
                            file.write(json.dumps(record) + "\n")

    def append_metrics(self, record: Mapping[str, Number]) -> None:
        """Add the record of a step.

        Raises:
            TrainingError: If it cannot be written, such as on a full disk.
        """
        _append(self.path / "metrics.jsonl", record)

    def append_nonfinite(self, record: Mapping[str, object]) -> None:
        """Add a step whose loss or gradient was not finite, with where its samples came from.

        Raises:
            TrainingError: If it cannot be written, such as on a full disk.
        """
        _append(self.nonfinite, record)

    def num_skipped_before(self, step: int) -> int:
        """Return how many steps in a row, up to the one before `step`, were not finite."""
        skipped = {record["step"] for record in _records(self.nonfinite)}
        return next(num for num in count() if step - 1 - num not in skipped)

    def flush_metrics(self) -> None:
        """Bring the metrics to the disk, so that no checkpoint is ahead of them.

        Raises:
            TrainingError: If that fails, such as on a full disk.
        """
        path = self.path / "metrics.jsonl"
        with _told_what_to_do(path), path.open("a") as file:
            os.fsync(file.fileno())

    def _has(self, name: str) -> bool:
        return (self.path / name).exists()

    def _read(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        try:
            return from_json(read_regular(self.path / name))
        except FileNotFoundError as error:
            if (self.exists() or self._has(".lock")) and not self.has_trained():
                raise InputError(
                    f"{self.path} has not begun: it has no {name} yet; wait, or start it again"
                ) from error
            raise InputError(f"{self.path} is no run: it has no {name}") from error
        except OSError as error:
            raise InputError(
                f"{self.path / name} cannot be read ({system_reason(error)})"
            ) from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path / name} is damaged: {error}") from error


def _append(path: Path, record: Mapping[str, object]) -> None:
    with _told_what_to_do(path), path.open("a") as file:
        file.write(to_json(record) + "\n")


@contextmanager
def _told_what_to_do(path: Path) -> Iterator[None]:
    """Translate what a disk says while a run writes a file."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"cannot write {path} ({system_reason(error)}); free some space and start again, "
            "the run goes on from its newest checkpoint"
        ) from error


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file of records one by one; long runs have gigabytes of them."""
    num_damaged = 0
    if path.exists():
        with path.open(errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                    record["step"]
                except (ValueError, RecursionError, TypeError, KeyError):
                    num_damaged += 1
                else:
                    yield record
    if num_damaged:
        logger.warning("%d damaged lines in %s", num_damaged, path)

"""The folder of a run: what it is, what it measured, where it can go on.

config.json      every setting           metrics.jsonl    one line a step
slides.json      the slide list          quarantine.json  slides that could not be used
versions.json    packages and commit     checkpoints/     see checkpoint.py
"""

import fcntl
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import final

from eosin.atomic import remove_leftovers, write_atomic
from eosin.errors import CheckpointError, ConfigError, InputError
from eosin.plain import Plain, differences, from_plain
from eosin.train.config import TrainConfig

_PACKAGES = ("eosin", "torch", "numpy", "opencv-python-headless", "openslide-python")
Number = float | int


@final
class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing to the same run.

        Raises:
            ConfigError: If another process does at this moment.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another process is training in {self.path}; wait for it, or give another "
                    "out_dir"
                ) from error
            remove_leftovers(self.path)
            remove_leftovers(self.checkpoints)
            yield

    def begin(self, config: Plain, slides: Sequence[str]) -> None:
        """Write down what runs; a run that goes on must be the same as before.

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
            write_atomic(config_path, json.dumps(config, indent=1))
        write_atomic(self.path / "slides.json", json.dumps(list(slides), indent=1))
        write_atomic(self.path / "versions.json", json.dumps(_versions(), indent=1))

    @property
    def config(self) -> dict[str, Plain]:
        """The settings of the run, as plain values.

        Raises:
            InputError: If the folder holds no run.
        """
        config_path = self.path / "config.json"
        try:
            config = json.loads(config_path.read_text())
        except FileNotFoundError as error:
            raise InputError(f"{self.path} is no run: it has no config.json") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{config_path} is damaged: {error}") from error
        assert isinstance(config, dict)
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
    def slides(self) -> list[str]:
        """Paths of the slides that the run streams from."""
        return list(json.loads((self.path / "slides.json").read_text()))

    @property
    def versions(self) -> dict[str, str]:
        """Packages and commit that the run was last started with."""
        return dict(json.loads((self.path / "versions.json").read_text()))

    @property
    def quarantine(self) -> dict[str, str]:
        """Slides that could not be used, each with the reason."""
        path = self.path / "quarantine.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def write_quarantine(self, quarantined: Mapping[str, str]) -> None:
        """Write down the slides that could not be used, when there are any."""
        if quarantined:
            write_atomic(self.path / "quarantine.json", json.dumps(dict(quarantined), indent=1))

    def metrics(self) -> list[dict[str, Number]]:
        """Return one record a step, oldest first; half a line at the end is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        records = []
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return records

    def forget_metrics_from(self, step: int) -> None:
        """Drop the records of steps that will be done again."""
        kept = [record for record in self.metrics() if record["step"] < step]
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        write_atomic(self.path / "metrics.jsonl", lines)

    def append_metrics(self, record: Mapping[str, Number]) -> None:
        """Add the record of a step."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {**versions, "commit": _commit()}


def _commit() -> str:
    """Return the commit of the source, when it is a checkout."""
    where = Path(__file__).parent
    command = ["git", "-C", str(where), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"

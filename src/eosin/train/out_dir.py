"""Whether a folder may become a run's: what lies there already is somebody's.

Looked at before anything is written; `RunFolder.claim` compares settings later.
"""

import json
import zipfile
from pathlib import Path

from eosin.atomic import check_folder, foreign_file
from eosin.errors import ConfigError
from eosin.train.run_folder import BEFORE_CONFIG, OF_A_START, OWN_FILES, RunFolder

_NOT_TOUCHED = frozenset({"report.html", "wandb"})
"""What is left of a start that failed, and training neither reads nor replaces."""
_LOG_SUFFIXES = frozenset({".err", ".log", ".out"})
"""Of what people let a run's own talk go to, before it has begun."""
_MAX_NAMED = 3


def refuse_folder_of_others(out_dir: Path) -> None:
    """Let pass a folder that is missing, empty, or a run's; hidden files and logs do not count.

    Raises:
        ConfigError: If it holds anything else, or is a file or below one.
        InputError: If it has a `config.json` that cannot be read.
        WriteError: If nothing can be written there.
    """
    nearest = next(path for path in (out_dir, *out_dir.parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(
            f"{nearest} is a file, so {out_dir} cannot be the folder of a run; give another out_dir"
        )
    if nearest == out_dir and not RunFolder(out_dir).exists():
        _refuse(out_dir, [path for path in out_dir.iterdir() if not _may_stay(path)])
    check_folder(out_dir, "a run")


def refuse_files_of_others(out_dir: Path) -> None:
    """Refuse a folder that is no run and has something under a name that a run would write to.

    Raises:
        ConfigError: If there is such a file or folder.
        InputError: If it has a `config.json` that cannot be read.
    """
    if not RunFolder(out_dir).exists():
        # Settings of others are refused where they are compared.
        names = (BEFORE_CONFIG | set(OF_A_START)) - {"config.json"}
        there = [out_dir / name for name in names]
        _refuse(out_dir, [path for path in there if path.exists() and not _is_ours(path)])


def _refuse(out_dir: Path, paths: list[Path]) -> None:
    others = sorted(path.name for path in paths)
    if others:
        more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
        raise ConfigError(
            f"{out_dir} is no run and holds {', '.join(others[:_MAX_NAMED])}{more}; give an "
            "out_dir that is empty or not there yet"
        )


def _may_stay(path: Path) -> bool:
    is_log = path.suffix in _LOG_SUFFIXES and path.is_file()
    return path.name.startswith(".") or path.name in _NOT_TOUCHED or is_log or _is_ours(path)


def _is_ours(path: Path) -> bool:
    """Return whether a run without settings made a file or folder: names alone prove nothing."""
    if path.name in OWN_FILES:
        is_folder = path.is_dir() and not path.is_symlink()
        return is_folder and foreign_file(path, OWN_FILES[path.name]) is None
    if path.name == "bank.npz":
        return _has_tiles(path)
    return path.name == "quarantine.jsonl" and _has_quarantine(path)


def _has_tiles(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as bank:
            return "patches.npy" in bank.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _has_quarantine(path: Path) -> bool:
    try:
        with path.open() as lines:
            first = json.loads(lines.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and first.keys() >= {"slide", "grain", "cause"}

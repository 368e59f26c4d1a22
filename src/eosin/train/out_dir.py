"""Whether a folder may become a run's: what lies there already is somebody's.

Looked at by the command line before anything is written; `RunFolder.claim` compares settings later.
"""

from pathlib import Path

from eosin.errors import ConfigError
from eosin.train.run_folder import BEFORE_CONFIG, OF_A_START, RunFolder

_OURS = (BEFORE_CONFIG | {*OF_A_START, "report.html", "wandb"}) - {"config.json"}
"""Names of what a run makes; models of Hugging Face have a config.json too."""
_LOG_SUFFIXES = frozenset({".err", ".log", ".out"})
"""Of what people let a run's own talk go to, before it has begun."""
_MAX_NAMED = 3


def refuse_folder_of_others(out_dir: Path) -> None:
    """Let pass a folder that is missing, empty, or a run's; hidden files and logs do not count.

    Raises:
        ConfigError: If it holds anything else, or is a file or below one.
        InputError: If it has a `config.json` that cannot be read.
    """
    nearest = next(path for path in (out_dir, *out_dir.parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(
            f"{nearest} is a file, so {out_dir} cannot be the folder of a run; give another out_dir"
        )
    if nearest != out_dir or RunFolder(out_dir).exists():
        return
    others = sorted(path.name for path in out_dir.iterdir() if not _is_ours(path))
    if others:
        more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
        raise ConfigError(
            f"{out_dir} is no run and holds {', '.join(others[:_MAX_NAMED])}{more}; give an "
            "out_dir that is empty or not there yet"
        )


def _is_ours(path: Path) -> bool:
    is_log = path.suffix in _LOG_SUFFIXES and path.is_file()
    return path.name.startswith(".") or path.name in _OURS or is_log

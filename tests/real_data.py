"""Real slides that developers keep beside the project; without them their tests skip."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared"


def real_file(*parts: str) -> Path:
    """Return a file of the developers' folder, or skip the test."""
    path = FOLDER.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not beside this checkout")
    return path

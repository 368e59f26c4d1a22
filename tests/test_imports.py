"""Imports point upstream only: the folders are the journey of the data, and nobody looks back."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"

ORDER = (
    "names", "reading", "progress", "children",
    "errors", "plain", "atomic", "randomness", "scratch", "resample", "geometry", "backends",
    "catalog", "tissue", "sampling", "filters", "transforms", "views", "stream", "pipeline", "scan",
    "speed", "dataset", "masking", "augment", "loader", "models", "losses",
    "train", "embed", "evaluate", "watch", "report", "recipes", "phantom", "journey", "appraisal",
    "demo", "verbs", "cli", "__main__",
)  # fmt: skip
"""Each may import what stands before it; a folder is one entry."""

INDEPENDENT = {"phantom": {"errors", "atomic", "children"}}
"""Slides are made without the code that is tested on them."""

TORCH_FREE = (
    "eosin.pipeline", "eosin.scan", "eosin.recipes", "eosin.train.stream", "eosin.report.preview",
    "eosin.train.presets",
)  # fmt: skip
"""What the streaming install must import, and the command line before it knows what to do."""


def imports_of(path: Path) -> Iterator[str]:
    """Yield the modules of eosin that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("eosin."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            if node.module == "eosin":
                yield from (f"eosin.{alias.name}" for alias in node.names)
            elif node.module and node.module.startswith("eosin."):
                yield node.module


def edges() -> Iterator[tuple[str, str, str]]:
    """Yield file, the part that it is in, and a part that it imports."""
    for path in sorted((SRC / "eosin").rglob("*.py")):
        part = path.relative_to(SRC / "eosin").parts[0].removesuffix(".py")
        for module in imports_of(path):
            yield str(path.relative_to(SRC)), part, module.split(".")[1]


def test_every_part_has_its_place_in_the_journey():
    parts = {p.stem for p in (SRC / "eosin").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert parts - {"__init__", "__pycache__"} <= set(ORDER)


def test_imports_point_upstream_only():
    backward = [
        f"{file} imports eosin.{to}"
        for file, part, to in edges()
        if to in ORDER and part != to and ORDER.index(to) > ORDER.index(part)
    ]
    assert backward == []


def test_the_root_imports_nothing_of_its_own():
    assert list(imports_of(SRC / "eosin" / "__init__.py")) == []


@pytest.mark.parametrize("part", INDEPENDENT)
def test_independent_parts_import_only_what_they_may(part):
    imported = {to for _, of, to in edges() if of == part}
    assert imported <= {part, *INDEPENDENT[part]}


def test_the_streaming_part_and_the_recipes_import_no_torch():
    code = f"import {', '.join(TORCH_FREE)}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

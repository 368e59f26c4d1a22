"""Check what no linter knows: sizes, fragments, paths. Prints each breach and exits 1."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE_LINES = 700
MAX_FUNCTION_LINES = 80
FRAGMENT = re.compile(r"\d+\.(feature|fix|docs|misc)\.md")
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.dev\d+)?")
MACHINE_PATH = re.compile(r"(?<![\w./-])/(tmp|root|home|work)/\w")
# Built from two halves, so that this file does not breach its own rules.
MARKER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)")


def main() -> int:
    breaches = [*source_sizes(), *text_rules(), *fragments(), *version()]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


def source_sizes() -> Iterator[str]:
    for path in sorted((ROOT / "src").rglob("*.py")):
        name, text = path.relative_to(ROOT), path.read_text()
        num_lines = text.count("\n")
        if num_lines > MAX_FILE_LINES:
            yield f"{name}: {num_lines} lines, more than {MAX_FILE_LINES}; one idea a file"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    yield (
                        f"{name}:{node.lineno}: {node.name} has {length} lines, more than "
                        f"{MAX_FUNCTION_LINES}; name its parts"
                    )


def text_rules() -> Iterator[str]:
    for path in tracked_files():
        try:
            lines = path.read_text().splitlines()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        is_python = path.suffix == ".py"
        for number, line in enumerate(lines, 1):
            at = f"{path.relative_to(ROOT)}:{number}"
            if MACHINE_PATH.search(line):
                yield f"{at}: names a path of one machine"
            if is_python and MARKER.search(line):
                yield f"{at}: leaves work behind; do it, or open an issue"
            if is_python and line.startswith("from __future__ import annotations"):
                yield f"{at}: breaks the checks of shapes at run time"
            if is_python and BARE_IGNORE.search(line):
                yield f"{at}: ignores every type error; name the code, as in ignore[arg-type]"


def tracked_files() -> list[Path]:
    """Return what git has, or everything but hidden folders where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        found = (path for path in ROOT.rglob("*") if path.is_file())
        return [p for p in found if not any(x.startswith(".") for x in p.relative_to(ROOT).parts)]
    return [ROOT / name for name in listed.split("\0") if name]


def fragments() -> Iterator[str]:
    found = sorted(path.name for path in (ROOT / "changes").glob("*") if path.name != "README.md")
    if not found:
        yield "changes/: has no fragment; say what this change brings in <issue>.<type>.md"
    for name in found:
        if not FRAGMENT.fullmatch(name):
            yield f"changes/{name}: is not named <issue>.<feature|fix|docs|misc>.md"
        elif not (ROOT / "changes" / name).read_text().strip():
            yield f"changes/{name}: is empty"


def version() -> Iterator[str]:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if not VERSION.fullmatch(stated):
        yield f"pyproject.toml: version {stated!r} is not like 0.1.0 or 0.1.0rc1"


if __name__ == "__main__":
    sys.exit(main())

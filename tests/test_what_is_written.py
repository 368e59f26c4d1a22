"""Every call in src/ that writes or removes is in docs/robustness.md, with why it is safe."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## What eosin writes and removes"
ROW = re.compile(r"\| `(?P<place>[\w./]+)` \| (?P<calls>`.*`) \| (?P<why>.+) \|")

METHODS = frozenset(
    (
        *("rmtree", "unlink", "rmdir", "rename", "renames", "removedirs", "move", "copy2"),
        *("copyfile", "copyfileobj", "copytree", "write_text", "write_bytes", "save_file", "save"),
        *("write_table", "savez", "savez_compressed", "savetxt", "imwrite", "tofile", "truncate"),
        *("touch", "symlink_to", "hardlink_to", "symlink", "chmod", "mkdir", "makedirs"),
        *("mmap", "memmap", "posix_fallocate", "TiffWriter", "SummaryWriter", "FileSystemWriter"),
        *("mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory", "extractall"),
        *("to_csv", "to_parquet", "ParquetWriter", "RotatingFileHandler", "FileHandler"),
        *("atomic_file", "atomic_folder", "write_atomic", "remove_leftovers", "remove_own_files"),
    )
)
"""Names of what writes or removes, whoever has them."""
OF_MODULES = {
    "os": {"remove", "replace", "write", "pwrite", "open", "ftruncate", "link"},
    "shutil": {"copy"},
    "subprocess": {"run", "Popen", "call", "check_call", "check_output"},
    "_wandb": {"init"},
}
"""And these, as functions of these modules: lists and texts have methods of the same names."""
WRITING_MODE = re.compile(r"[rbt]*[wax+][rbtwax+]*")


def calls_of(tree: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    """Yield the outermost function or method and the name of each call that writes or removes."""
    for node in ast.iter_child_nodes(tree):
        inside = place
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_outer = isinstance(tree, ast.Module | ast.ClassDef)
            inside = f"{place}.{node.name}".lstrip(".") if is_outer else place
        if isinstance(node, ast.Call):
            name = written_by(node)
            if name:
                yield place, name
        elif isinstance(node, ast.Attribute) and node.attr in ("unlink", "rmtree", "rename"):
            is_called = isinstance(tree, ast.Call) and tree.func is node
            if not is_called:  # handed on as a function, to be called elsewhere
                yield place, node.attr
        yield from calls_of(node, inside)


def written_by(call: ast.Call) -> str | None:
    """Return the name of what a call does to the disk; None if it does nothing to it."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = function.value if isinstance(function, ast.Attribute) else None
    module = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    if name in METHODS or name in OF_MODULES.get(module, ()):
        return name
    if name == "replace" and owner is not None and len(call.args) == 1 and not call.keywords:
        return name  # of a path: a text's takes two, a dataclass's takes keywords
    if name in ("open", "File", "fdopen", "ZipFile"):
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        modes = [one.value for one in given if isinstance(one, ast.Constant)]
        if any(isinstance(mode, str) and WRITING_MODE.fullmatch(mode) for mode in modes):
            return name
    return None


def in_source() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src" / "eosin").rglob("*.py")):
        file = path.relative_to(ROOT / "src" / "eosin").as_posix()
        for place, name in calls_of(ast.parse(path.read_text()), ""):
            found.setdefault(f"{file}.{place}".rstrip("."), set()).add(name)
    return found


def in_table() -> dict[str, set[str]]:
    section = (ROOT / "docs" / "robustness.md").read_text().partition(HEADING)[2]
    rows = [row for line in section.splitlines() if (row := ROW.fullmatch(line))]
    return {row["place"]: set(re.findall(r"`(\w+)`", row["calls"])) for row in rows}


def test_whatever_writes_or_removes_is_in_the_table_of_the_documentation():
    source, table = in_source(), in_table()
    added = {place: names for place, names in source.items() if table.get(place) != names}
    assert added == {}, f"say in docs/robustness.md, under {HEADING!r}, why these are safe"
    assert table.keys() - source.keys() == set(), "these write nothing any more"


def test_the_walk_finds_each_way_to_write():
    found = dict.fromkeys(
        (
            *("shutil.rmtree(a)", "a.unlink()", "os.remove(a)", "a.replace(b)", "a.rename(b)"),
            *(
                "open(a, 'w')",
                "a.open('r+b')",
                "a.open(mode='x')",
                "os.open(a, flags)",
                "a.touch()",
            ),
            *("h5py.File(a, 'w')", "torch.save(a, b)", "np.savez(a)", "zipfile.ZipFile(a, 'w')"),
            *("save_file(a, b)", "cv2.imwrite(a, b)", "a.write_text(b)", "shutil.move(a, b)"),
            *("pq.write_table(a, b)", "map(Path.unlink, a)", "with_(os.replace(a, b))"),
        )
    )
    for code in found:
        assert list(calls_of(ast.parse(code), "")), code
    for code in (
        "a.replace('x', 'y')",
        "replace(a, b=1)",
        "open(a)",
        "a.open('rb')",
        "a.remove(b)",
    ):
        assert not list(calls_of(ast.parse(code), "")), code

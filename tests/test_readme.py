import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_readmes_example_runs_as_it_stands(
    tmp_path: Path,
    phantoms: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "slides").symlink_to(phantoms[0].parent)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, str(README), "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert names["state"]["next_index"] == 4


def test_the_readme_names_every_folder_of_the_journey():
    text = README.read_text()
    package = README.parent / "src" / "eosin"
    folders = [path.name for path in package.iterdir() if (path / "__init__.py").exists()]
    assert [name for name in folders if f"`{name}/`" not in text] == []

from pathlib import Path

import pytest

from eosin.errors import ConfigError
from eosin.phantom import read_spec, write_phantoms
from eosin.phantom.labels import labels_path

SIDE_L0 = 1024


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_set_is_drawn_once(tmp_path: Path):
    done: list[Path] = []
    paths = write_phantoms(tmp_path, num_slides=3, seed=1, side_l0=SIDE_L0, on_done=done.append)
    assert [path.name for path in paths] == [f"phantom_00{i}.svs" for i in range(3)]
    assert done == paths
    before = stamps(tmp_path)
    assert len(before) == 6
    again = write_phantoms(tmp_path, num_slides=3, seed=1, side_l0=SIDE_L0, on_done=done.append)
    assert again == paths
    assert stamps(tmp_path) == before
    assert sorted(done) == sorted([*paths, *paths])


def test_slides_of_another_spec_and_damaged_or_missing_ones_are_drawn_again(tmp_path: Path):
    write_phantoms(tmp_path, num_slides=4, seed=1, side_l0=SIDE_L0)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_phantoms(tmp_path, num_slides=1, seed=2, side_l0=SIDE_L0)
    (tmp_path / "phantom_001.svs").write_bytes(
        first["phantom_001.svs"].replace(b"Phantom spec", b"Phantom sp_c")
    )
    labels_path(tmp_path / "phantom_002.svs").unlink()
    kept = (tmp_path / "phantom_003.svs").stat().st_mtime_ns
    assert first != {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_phantoms(tmp_path, num_slides=4, seed=1, side_l0=SIDE_L0)
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert (tmp_path / "phantom_003.svs").stat().st_mtime_ns == kept


def test_several_processes_draw_the_same_bytes(tmp_path: Path):
    done: list[Path] = []
    one = write_phantoms(tmp_path / "one", num_slides=2, seed=3, side_l0=SIDE_L0)
    two = write_phantoms(
        tmp_path / "two",
        num_slides=2,
        seed=3,
        side_l0=SIDE_L0,
        num_workers=2,
        on_done=done.append,
    )
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert sorted(done) == two


def test_slides_of_a_set_differ_and_some_have_a_pen_mark(tmp_path: Path):
    specs = [
        read_spec(path) for path in write_phantoms(tmp_path, num_slides=4, seed=0, side_l0=SIDE_L0)
    ]
    assert len({spec.seed for spec in specs}) == 4
    assert {spec.pen for spec in specs} == {None, "green", "black"}


def test_an_empty_set_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="num_slides=0"):
        write_phantoms(tmp_path, num_slides=0, seed=0)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_slide_that_cannot_be_written_raises_in_the_caller(tmp_path: Path, num_workers: int):
    (tmp_path / "phantom_001.labels.png").mkdir()
    with pytest.raises(ConfigError, match=r"phantom_001\.labels\.png is a folder"):
        write_phantoms(tmp_path, num_slides=2, seed=0, side_l0=SIDE_L0, num_workers=num_workers)


def test_a_slide_of_somebody_under_the_name_of_a_phantom_stays(tmp_path: Path):
    """Row 1 of the faults: another member, `phantom_000.svs` was drawn over whatever it was."""
    (tmp_path / "phantom_000.svs").write_bytes(b"II*\0 a physical phantom, scanned")
    with pytest.raises(ConfigError, match=r"phantom_000\.svs is there and is not a phantom slide"):
        write_phantoms(tmp_path, num_slides=2, seed=0, side_l0=SIDE_L0)
    assert [path.name for path in tmp_path.iterdir()] == ["phantom_000.svs"]
    assert b"scanned" in (tmp_path / "phantom_000.svs").read_bytes()

from pathlib import Path

import pytest

from eosin.backends.files import file_fingerprint, find_slides
from eosin.errors import InputError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def test_a_folder_gives_all_slides_below_it_sorted(tmp_path):
    touch(
        tmp_path / "b.SVS", tmp_path / "a" / "c.tiff", tmp_path / "notes.txt", tmp_path / "._b.svs"
    )
    (tmp_path / "folder.svs").mkdir()
    assert find_slides(tmp_path) == [str(tmp_path / "a" / "c.tiff"), str(tmp_path / "b.SVS")]


def test_a_list_keeps_its_order_and_names_nothing_twice(tmp_path):
    touch(tmp_path / "b.svs", tmp_path / "a.dat")
    given = [tmp_path / "b.svs", str(tmp_path / "a.dat"), tmp_path]
    assert find_slides(given) == [str(tmp_path / "b.svs"), str(tmp_path / "a.dat")]


def test_a_path_of_another_readers_own_is_passed_on():
    assert find_slides("cloud://bucket/a.svs") == ["cloud://bucket/a.svs"]


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.svs does not exist"):
        find_slides([tmp_path / "nowhere.svs"])


def test_a_folder_without_slides_says_what_was_looked_for(tmp_path):
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"has no slides; looked for files ending in .*\.svs"):
        find_slides(tmp_path)
    with pytest.raises(InputError, match="an empty list has no slides"):
        find_slides([])


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
def test_the_fingerprint_changes_with_size_and_either_end(tmp_path, size):
    path = tmp_path / "a"
    path.write_bytes(bytes(size))
    seen = {file_fingerprint(path)}
    path.write_bytes(bytes(size) + b"\1")
    seen.add(file_fingerprint(path))
    path.write_bytes(b"\1" + bytes(size))
    seen.add(file_fingerprint(path))
    assert len(seen) == (2 if size == 0 else 3)

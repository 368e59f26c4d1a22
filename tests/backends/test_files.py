from pathlib import Path

import pytest

from eosin.backends.files import file_fingerprint, find_slides
from eosin.errors import InputError
from real_data import real_file


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def test_a_folder_gives_all_slides_below_it_sorted(tmp_path):
    touch(
        tmp_path / "b.SVS", tmp_path / "a" / "c.tiff", tmp_path / "notes.txt", tmp_path / "._b.svs"
    )
    touch(tmp_path / ".Trash-1000" / "files" / "d.svs")
    (tmp_path / "folder.svs").mkdir()
    assert find_slides(tmp_path) == [str(tmp_path / "a" / "c.tiff"), str(tmp_path / "b.SVS")]


def test_a_list_keeps_its_order_and_names_nothing_twice(tmp_path):
    touch(tmp_path / "b.svs", tmp_path / "a.dat")
    given = [tmp_path / "b.svs", str(tmp_path / "a.dat"), tmp_path]
    assert find_slides(given) == [str(tmp_path / "b.svs"), str(tmp_path / "a.dat")]


def dicom(path: Path, series: str) -> None:
    """Write the part of a DICOM header that says which series a file belongs to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = series.encode() + b"\0" * (len(series) % 2)
    uid = b"\x20\x00\x0e\x00UI" + len(value).to_bytes(2, "little") + value
    path.write_bytes(bytes(128) + b"DICM" + uid + b"pixels of " + path.name.encode())


def test_the_dicom_files_of_one_series_are_one_slide(tmp_path):
    for name, series in (("a0", "1.2.3"), ("a1", "1.2.3"), ("b0", "1.2.34"), ("b1", "1.2.34")):
        dicom(tmp_path / f"{name}.dcm", series)
    dicom(tmp_path / "elsewhere" / "a0.dcm", "1.2.3")
    touch(tmp_path / "of no series.dcm", tmp_path / "c.svs")
    names = [str(Path(path).relative_to(tmp_path)) for path in find_slides(tmp_path)]
    assert names == ["a0.dcm", "b0.dcm", "c.svs", "elsewhere/a0.dcm", "of no series.dcm"]


def test_images_are_slides_only_where_there_are_no_others(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "b.JPG")
    assert find_slides(tmp_path) == [str(tmp_path / "a.png"), str(tmp_path / "b.JPG")]
    touch(tmp_path / "c.svs")
    assert find_slides(tmp_path) == [str(tmp_path / "c.svs")]


@pytest.mark.data
def test_a_real_dicom_folder_is_one_slide():
    for name in ("dicom_cmu-1_false-colours", "dicom_cmu-1_ybr-full"):
        assert len(find_slides(real_file("data", "odd", name))) == 1


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

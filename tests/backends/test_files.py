import os
from pathlib import Path

import numpy as np
import pytest

from eosin.backends import AutoBackend
from eosin.backends.files import file_fingerprint, find_slides, have_same_content
from eosin.errors import InputError, SlideOpenError
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


def test_linked_folders_are_looked_into_each_once(tmp_path):
    """Row 20 of the faults: slides in linked folders were left out without a word."""
    touch(
        tmp_path / "given" / "a.svs", tmp_path / "disk" / "b.svs", tmp_path / "disk" / "d" / "c.svs"
    )
    for name in ("first", "second"):
        (tmp_path / "given" / name).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "deeper").symlink_to(tmp_path / "disk" / "d")
    found = [
        str(Path(path).relative_to(tmp_path / "given")) for path in find_slides(tmp_path / "given")
    ]
    assert found == ["a.svs", "first/b.svs", "first/d/c.svs"]


def test_links_that_lead_back_end_and_change_nothing(tmp_path):
    touch(tmp_path / "outside.svs", tmp_path / "given" / "z" / "a.svs")
    (tmp_path / "given" / "a_link").symlink_to(tmp_path / "given" / "z")
    (tmp_path / "given" / "z" / "up").symlink_to("..")
    (tmp_path / "given" / "z" / "far_up").symlink_to(tmp_path)
    (tmp_path / "given" / "ring").symlink_to("ring")
    # By its real place, as before a link to it was there.
    assert find_slides(tmp_path / "given") == [str(tmp_path / "given" / "z" / "a.svs")]


def test_links_to_nowhere_are_named(tmp_path, caplog):
    """Row 20 of the faults: dangling links were left out without a word."""
    touch(tmp_path / "a.svs")
    (tmp_path / "b.svs").symlink_to("/nowhere/b.svs")
    (tmp_path / "disk").symlink_to("/nowhere")
    assert find_slides(tmp_path) == [str(tmp_path / "a.svs")]
    for link, target in (("b.svs", "/nowhere/b.svs"), ("disk", "/nowhere")):
        assert f"{tmp_path / link} (a link to {target}, which does not exist)" in caplog.text
    with pytest.raises(
        InputError, match=r"b\.svs \(a link to /nowhere/b\.svs, which does not exist"
    ):
        find_slides(tmp_path / "b.svs")


def test_suffixes_that_readers_take_are_listed_in_any_case(tmp_path):
    """Row 20 of the faults: .qptiff and .btf were left out without a word."""
    names = sorted(
        ["a.qptiff", "b.btf", "c.OME.TF8", "d.SVS", "e.TIFF", "f.ptif", "g.dicom", "h.svslide"]
    )
    touch(*(tmp_path / name for name in names))
    assert [Path(path).name for path in find_slides(tmp_path)] == names


def test_what_is_passed_over_is_counted_by_suffix(tmp_path, caplog):
    """Row 30 of the faults: a folder gave one of 14 files without a word."""
    touch(
        tmp_path / "a.svs", tmp_path / "c.vsi", tmp_path / "_c_" / "frame_t.ets", tmp_path / "none"
    )
    touch(*(tmp_path / f"{n}.jpg" for n in range(9)), *(tmp_path / f"{n}.XML" for n in range(2)))
    touch(tmp_path / "d.zarr" / "0" / "0", tmp_path / ".hidden.svs")
    with caplog.at_level("INFO"):
        assert find_slides(tmp_path) == [str(tmp_path / "a.svs")]
    (message,) = caplog.messages
    assert message.startswith(
        f"{tmp_path}: passed over: 1 .ets (pixels of an Olympus .vsi), 1 .vsi"
    )
    assert "1 .vsi (Olympus: OpenSlide does not read it; convert it to OME-TIFF" in message
    assert message.endswith("export it as OME-TIFF), 9 .jpg, 2 .xml, 1 without a suffix")


def test_a_folder_of_other_formats_alone_says_which(tmp_path):
    touch(tmp_path / "a.isyntax", tmp_path / "b.lif")
    with pytest.raises(
        InputError, match=r"no slides; .*passed over: 1 \.isyntax \(Philips: .*\.lif"
    ):
        find_slides(tmp_path)


def test_what_belongs_to_a_slide_is_not_passed_over(tmp_path, caplog):
    touch(tmp_path / "a.mrxs", tmp_path / "a" / "Data0000.dat", tmp_path / "a" / "Slidedat.ini")
    touch(tmp_path / "a" / "export.tif")
    with caplog.at_level("INFO"):
        assert len(find_slides(tmp_path)) == 2
    assert not caplog.messages


def test_the_working_directory_is_a_folder_like_others(tmp_path, monkeypatch):
    touch(tmp_path / "a.svs", tmp_path / ("x" * 254) / "b.svs")
    monkeypatch.chdir(tmp_path)
    assert find_slides(".") == ["a.svs", f"{'x' * 254}/b.svs"]


def test_many_suffixes_make_no_endless_message(tmp_path, caplog):
    touch(tmp_path / "a.svs", tmp_path / "z.kfb", *(tmp_path / f"x.{n}" for n in range(40)))
    with caplog.at_level("INFO"):
        find_slides(tmp_path)
    (message,) = caplog.messages
    assert "1 .kfb (KFBio" in message
    assert message.endswith("29 with other suffixes")


def test_a_slide_in_a_format_that_is_not_read_says_what_to_do(tmp_path):
    (tmp_path / "a.vsi").write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(SlideOpenError, match=r"Olympus: OpenSlide does not read it; convert it"):
        AutoBackend().open(tmp_path / "a.vsi")


def test_a_folder_that_may_not_be_read_is_named(tmp_path, caplog):
    touch(tmp_path / "a.svs", tmp_path / "closed" / "b.svs")
    real = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert find_slides(tmp_path) == [str(tmp_path / "a.svs")]
    assert f"{tmp_path / 'closed'} (Permission denied)" in caplog.text


def test_files_that_differ_where_the_fingerprint_does_not_look_are_no_copies(tmp_path):
    """Row 34 of the faults: damage outside the sampled bytes made a file a copy."""
    content = bytearray(np.random.default_rng(0).bytes(300_000))
    (tmp_path / "a.svs").write_bytes(content)
    (tmp_path / "copy.svs").write_bytes(content)
    content[80_000:80_100] = bytes(100)
    (tmp_path / "damaged.svs").write_bytes(content)
    (tmp_path / "link.svs").symlink_to("a.svs")
    prints = {file_fingerprint(path) for path in tmp_path.iterdir()}
    assert len(prints) == 1
    same = {
        name: have_same_content(tmp_path / "a.svs", tmp_path / f"{name}.svs")
        for name in ("copy", "damaged", "link")
    }
    assert same == {"copy": True, "damaged": False, "link": True}


@pytest.mark.parametrize("kind", ["mrxs", "vms", "dcm"])
def test_all_files_of_a_slide_are_compared(tmp_path, kind):
    for folder in ("one", "other", "damaged"):
        here = tmp_path / folder
        touch(here / "part.dat", here / "s" / "Data0000.dat", here / "stranger.txt")
        match kind:
            case "mrxs":
                touch(here / "s.mrxs")
            case "vms":
                (here / "s.vms").write_text("[Virtual Microscope Specimen]\nImageFile=part.dat\n")
            case "dcm":
                dicom(here / "s.dcm", "1.2.3")
                dicom(here / "t.dcm", "1.2.3")
    for changed in ("part.dat", "s/Data0000.dat", "t.dcm", "stranger.txt"):
        with (tmp_path / "damaged" / changed).open("ab") as file:
            file.write(b"!")
    (tmp_path / "other" / "stranger.txt").write_text("is no part")
    one, other, damaged = (tmp_path / name / f"s.{kind}" for name in ("one", "other", "damaged"))
    assert have_same_content(one, other)
    assert not have_same_content(one, damaged)


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

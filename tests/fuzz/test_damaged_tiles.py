"""What readers make of damaged tiles, which docs/robustness.md promises."""

from pathlib import Path

import numpy as np
import pytest

from eosin.backends import AutoBackend, ImageBackend, MppPolicy, OpenSlideBackend, TiffBackend
from eosin.backends.tile_cache import SHARED_CACHE
from eosin.errors import InputError, SlideReadError
from eosin.evaluate.labelled import LabelledTiles
from eosin.filters import HSVPatchFilter
from eosin.pipeline import PatchPipeline
from eosin.sampling import RandomSampler
from eosin.tissue import HSVTissueDetector
from fuzz.damaged_tiles import (
    CODECS,
    DAMAGED,
    DAMAGES,
    MISPLACED,
    PICTURES,
    TILE_PX,
    TILES,
    cell,
    misplace,
    tabulate,
    write_tiles,
)

DOCS = Path(__file__).parents[2] / "docs" / "robustness.md"


@pytest.fixture(scope="module")
def verdicts():
    return tabulate({"direct": TiffBackend()})


def documented() -> dict[tuple[str, str], str]:
    """Return the cells of the table by damage and column."""
    rows = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in DOCS.read_text().splitlines()
        if line.startswith("|")
    ]
    head = next(row for row in rows if row[0] == "damage" and row[1].startswith("direct"))
    names = {*DAMAGES, *MISPLACED}
    return {
        (row[0], column): text
        for row in rows
        if row[0] in names
        for column, text in zip(head[1:], row[1:], strict=True)
    }


def test_what_the_docs_say_is_refused_or_right_is(verdicts):
    """Row 5 of the faults: damaged tiles are refused as far as their codec tells."""
    said = documented()
    assert {damage for damage, _ in said} == {*DAMAGES, *MISPLACED}
    for (damage, column), found in verdicts.items():
        text = said[damage, column]
        if "wrong" not in text:
            assert cell(found) == text, (damage, column)
        else:
            # Codecs without a checksum, where it is chance what shows.
            assert damage in DAMAGES


def test_no_damage_that_breaks_a_jpeg_off_passes(verdicts):
    """Row 5 of the faults: libjpeg's warnings were passed over."""
    for damage in DAMAGES:
        if damage != "20 bytes changed":  # after which the codes may come out even
            assert set(verdicts[damage, "direct: JPEG"]) == {"refused"}, damage
    for damage in MISPLACED:
        for codec in CODECS:
            assert set(verdicts[damage, f"direct: {codec.name}"]) == {"refused"}, damage


@pytest.mark.parametrize("codec", CODECS, ids=map(str, range(len(CODECS))))
def test_sound_tiles_of_every_codec_are_read_twice_alike(tmp_path, codec):
    """Row 5 of the faults: from the second time on, fewer rows are decoded."""
    path = write_tiles(tmp_path / "a.svs", codec, [codec.pack(tile) for tile in TILES])
    with TiffBackend().open(path) as slide:
        SHARED_CACHE.clear()
        whole = slide.read_region(0, 0, 0, 2 * TILE_PX, 2 * TILE_PX)
        for rows in (1, 7, 8, 100, 255):
            SHARED_CACHE.clear()
            assert (slide.read_region(0, 0, 0, 2 * TILE_PX, rows) == whole[:rows]).all()
    if codec.name != "WebP":  # which OpenSlide does not know
        with OpenSlideBackend().open(path) as slide:
            assert (slide.read_region(0, 0, 0, 2 * TILE_PX, 2 * TILE_PX) == whole).all()


def test_a_file_that_is_damaged_in_place_is_noticed_although_it_was_sound(tmp_path):
    """Row 5 of the faults: what is known of a tile is known of one version of the file."""
    codec = CODECS[0]
    tiles = [codec.pack(tile) for tile in TILES]
    path = write_tiles(tmp_path / "a.svs", codec, tiles)
    with TiffBackend().open(path) as slide:
        slide.read_region(0, 0, 0, 2 * TILE_PX, 2 * TILE_PX)
    content = path.read_bytes()
    at = content.find(tiles[DAMAGED]) + len(tiles[DAMAGED]) // 2
    path.write_bytes(content[:at] + bytes(200) + content[at + 200 :])
    with TiffBackend().open(path) as slide, pytest.raises(SlideReadError, match="tile 1 of"):
        slide.read_region(TILE_PX, 0, 0, 10, 10)


def test_tiles_that_share_their_bytes_are_copies_and_no_damage(tmp_path):
    """Row 5 of the faults: writers keep equal tiles once."""
    codec = CODECS[0]
    path = write_tiles(tmp_path / "a.svs", codec, [codec.pack(tile) for tile in TILES])

    def share(offsets, counts, size):
        offsets[2], counts[2] = offsets[0], counts[0]

    misplace(path, share)
    with TiffBackend().open(path) as slide:
        first = slide.read_region(0, 0, 0, TILE_PX, TILE_PX)
        assert (slide.read_region(0, TILE_PX, 0, TILE_PX, TILE_PX) == first).all()


def test_offset_and_byte_count_0_are_an_empty_tile_and_offset_0_alone_is_damage(tmp_path):
    """Row 5 of the faults: offset 0 with bytes was taken for an empty tile."""
    codec = CODECS[0]
    path = write_tiles(tmp_path / "a.svs", codec, [codec.pack(tile) for tile in TILES])

    def empty(offsets, counts, size):
        offsets[1] = counts[1] = counts[2] = 0

    misplace(path, empty)
    with TiffBackend().open(path) as slide, OpenSlideBackend().open(path) as reference:
        whole = (0, 0, 0, 2 * TILE_PX, 2 * TILE_PX)
        assert (slide.read_region(*whole) == reference.read_region(*whole)).all()
        assert (slide.read_region(TILE_PX, 0, 0, TILE_PX, TILE_PX) == 255).all()
    misplace(path, lambda offsets, counts, size: offsets.__setitem__(0, 0))
    for backend in (TiffBackend(), OpenSlideBackend()):
        with backend.open(path) as slide, pytest.raises(SlideReadError):
            slide.read_region(0, 0, 0, 10, 10)


def test_a_stream_counts_damaged_tiles_and_never_shows_their_pixels(tmp_path):
    """Row 5 of the faults: quarantine was silent."""
    codec = CODECS[0]
    tiles = [codec.pack(tile) for tile in TILES]
    tiles[DAMAGED] = tiles[DAMAGED][: len(tiles[DAMAGED]) // 2] + bytes(len(tiles[DAMAGED]) // 2)
    path = write_tiles(tmp_path / "a.svs", codec, tiles)
    with TiffBackend().open(path) as slide:
        sound = np.zeros((2, 2), bool)
        for row in range(2):
            for column in range(2):
                try:
                    slide.read_region(column * TILE_PX, row * TILE_PX, 0, 64, 64)
                    sound[row, column] = True
                except SlideReadError:
                    continue
    assert sound.tolist() == [[True, False], [True, True]]
    # The only level is damaged, so a mask of it cannot be made: the slide is left out by name.
    pipeline = PatchPipeline(
        slide_paths=[path, write_tiles(tmp_path / "b.svs", codec, [codec.pack(t) for t in TILES])],
        backend=AutoBackend(mpp=MppPolicy()),
        tissue_detector=HSVTissueDetector(),
        sampler=RandomSampler(patch_size=64, level=0, tissue_threshold=0.1),
        patch_filter=HSVPatchFilter(min_pixel_fraction=0.0),
        pool_size=2,
        patches_per_slide=4,
        max_quarantined_fraction=1.0,
    )
    names = {Path(pipeline.read(index).coordinate.slide_path).name for index in range(8)}
    assert names == {"b.svs"}
    assert [Path(slide).name for slide in pipeline.quarantined] == ["a.svs"]


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("damage", ["a hole of zeros", "a marker in the middle"])
def test_damaged_pictures_are_refused_as_slides_and_as_labelled_tiles(tmp_path, kind, damage):
    """Row 5 of the faults: the same for pictures, whose decoders fill in what is missing."""
    content = PICTURES[kind](TILES[0])
    for name in ("class", "other"):
        path = tmp_path / name / f"a.{kind.lower()}"
        path.parent.mkdir()
        path.write_bytes(content)
    path = tmp_path / "class" / path.name
    with ImageBackend().open(path) as slide:
        slide.read_region(0, 0, 0, 10, 10)
    LabelledTiles.from_folder(tmp_path).read(0)
    path.write_bytes(DAMAGES[damage](content, content))
    with ImageBackend().open(path) as slide, pytest.raises(SlideReadError, match="cannot be decod"):
        slide.read_region(0, 0, 0, 10, 10)
    with pytest.raises(InputError, match="replace it"):
        LabelledTiles.from_folder(tmp_path).read(0)

"""What a TIFF says about itself: which pages are levels, where tiles lie, how large pixels are.

Reads headers once. What the direct reader cannot give exactly is refused with a reason, and another
reader takes the file.
"""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import tifffile

from eosin.backends.mpp import MppHint, microns, resolution_hint
from eosin.backends.tiff_levels import TileGrid, fit_level, same_levels, tile_reader
from eosin.backends.tiles import (
    UNPACKERS,
    JpegDecoder,
    PackedDecoder,
    TileDecoder,
    TileError,
    has_unknown_sampling,
    is_subsampled,
    read_frame,
)

_JPEG = 7
_APERIO_JP2K_YCBCR = 33003
_RGB, _YCBCR = 2, 6
_PALETTE = 3
_GREY = (0, 1, 4)
"""Photometric interpretations: white or black is zero, and masks."""
_PREDICTED = (5, 8, 32946, 34925, 50000)
"""LZW, deflate, LZMA and zstd; libtiff looks at no predictor of other codecs."""
_OWN_LAYOUTS = frozenset(
    {"ndpi", "scn", "bif", "qpi", "lsm", "stk", "imagej", "avs", "eer", "gdal"}
)
"""Formats that are TIFFs by name; their pages do not mean what a plain pyramid's do."""

_MAX_TILE_PIXELS = 2**26
_HEADER_BYTES = 65536
_FIRST_TILE_AT = 8
"""What stands before is the header of the file."""
_LISTS = frozenset({258, 273, 279, 324, 325})
"""Bits of a sample, and places and lengths of strips and tiles."""
_WHOLE_NUMBERS = _LISTS | {254, 256, 257, 259, 262, 277, 278, 284, 322, 323}
"""Tags that say how the pixels of a page are stored."""
_AT_LEAST_ONE = frozenset({256, 257, 277, 278, 322, 323})
_TILE_OFFSETS = 324
_WHOLE_TYPES = frozenset({1, 3, 4, 13, 16})
_BEYOND = 2**62
"""Larger than any file."""
_MAX_PAGES = 1024
_MAX_DESCRIPTION_BYTES = 2**26
_BYTE_TYPES = (1, 2, 6, 7)
_NO_LEVEL = 4 | 8
"""Bits of NewSubfileType: a transparency mask, and what Aperio marks a macro with."""
_CALLED_OTHERWISE = re.compile(r"^(macro|label|thumbnail)\b", re.MULTILINE | re.IGNORECASE)
"""Types of TIFF tags that hold text, whatever they are called."""
_UM_OF_UNIT = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


class NotClaimedError(Exception):
    """The direct reader leaves this file to others; the message says why."""

    num_levels = 0
    """That another reader must find, where that is known; libtiff leaves out what it cannot read,
    and all pages behind it."""


class TiffLayout(NamedTuple):
    """All that is needed to read tiles, and what the file says about its scale."""

    levels: list[TileGrid]
    downsamples: list[float]
    vendor: str
    codec: str
    mpp_hints: list[MppHint]
    objective_power: str | None
    has_icc_profile: bool
    notes: tuple[str, ...]
    """Pages that were left out, or taken although they are not marked as levels."""


class RefusedError(Exception):
    """No reader should be given this file, for what it is: no picture in colour, or damaged."""


class DamagedError(RefusedError):
    """No reader should be given this file: its headers ask for what cannot be."""


def parse_layout(tiff: tifffile.TiffFile) -> TiffLayout:
    """Return the pyramid of a TIFF.

    Raises:
        NotClaimedError: If it is none that can be read exactly.
        DamagedError: If no reader could give its pixels, or OpenSlide might take the process down
            with it.
        RefusedError: If it is no picture in colour, whichever reader takes it.
    """
    _check_number_of_pages(tiff)
    try:
        return _layout(tiff)
    except NotClaimedError as error:
        reasons = [_why_no_colours(page.aspage()) for page in tiff.pages]
        if all(reasons):  # in formats of their own, a slide may be any of the pages
            raise RefusedError(reasons[0]) from error
        for page in (page.aspage() for page in tiff.pages):
            # OpenSlide would leave out such a page and all behind it, so that the thumbnail comes
            # from a finer level.
            reason = _senseless_tags(page) or _impossible_tiles(page, tiff.filehandle.size)
            if reason is not None:
                raise DamagedError(f"{error}; and it is damaged: a page has {reason}") from error
        if description(tiff.pages.first).startswith("Aperio"):
            error.num_levels = sum(page.aspage().is_tiled for page in tiff.pages)
        raise


def _check_number_of_pages(tiff: tifffile.TiffFile) -> None:
    """Refuse a chain of pages without an end, following it no further than a slide's could go."""
    offsets: set[int] = set()
    num_pages = 0
    for page in _pages(tiff):
        if page.offset in offsets:
            raise DamagedError("is damaged: its pages lead back to an earlier one")
        offsets.add(page.offset)
        num_pages += 1 + len(page.subifds or ())
        if num_pages > _MAX_PAGES:
            raise DamagedError(f"has more than {_MAX_PAGES} pages, which no slide has")
        try:
            _ = list(page.pages or ())
        except Exception as error:  # whatever stands there instead
            raise DamagedError(f"is damaged: its SubIFDs are no pages ({error})") from error


def _pages(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    yield tiff.pages.first
    for number in itertools.count(1):
        try:
            page = tiff.pages[number].aspage()
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            if isinstance(error, IndexError) and number >= len(tiff.pages):
                return
            raise DamagedError(
                f"is damaged: page {number} has a senseless tag ({error})"
            ) from error
        yield page


def _senseless_tags(page: tifffile.TiffPage) -> str | None:
    """Return what is wrong with the tags of a page that say how its pixels are stored."""
    for code in _WHOLE_NUMBERS & set(page.tags.keys()):
        tag = page.tags[code]
        if tag.dtype not in _WHOLE_TYPES or (tag.count != 1 and code not in _LISTS):
            return f"a tag {tag.name} of the wrong kind"
        if code in _AT_LEAST_ONE and tag.value < 1:
            return f"{tag.name} {tag.value}"
    if _TILE_OFFSETS in page.tags and not page.is_tiled:
        return "tiles without a size"
    if min(page.imagewidth, page.imagelength, page.samplesperpixel) < 1 or not page.dataoffsets:
        return "no pixels"
    return None


def _impossible_tiles(page: tifffile.TiffPage, num_bytes: int) -> str | None:
    """Return what is wrong with the tiles of a page, whichever reader it is for."""
    if not page.is_tiled:
        return None
    width, height = int(page.tilewidth), int(page.tilelength)
    if width * height > _MAX_TILE_PIXELS:
        return f"tiles of {width} x {height} px"
    if max(page.databytecounts, default=0) > num_bytes:
        return f"a tile of {max(page.databytecounts)} bytes in a file of {num_bytes}"
    num_bits = width * height * page.bitspersample
    if page.compression == 1 and 0 < 8 * max(page.databytecounts, default=0) < num_bits:
        return f"uncompressed tiles of at most {max(page.databytecounts)} bytes"
    return _wrong_number_of_tiles(page)


def _wrong_number_of_tiles(page: tifffile.TiffPage) -> str | None:
    sides = (page.imagewidth, page.imagelength, page.imagedepth)
    tile_sides = (page.tilewidth, page.tilelength, page.tiledepth)
    num_tiles = math.prod(
        -(-side // max(1, of)) for side, of in zip(sides, tile_sides, strict=True)
    )
    if page.planarconfig == 2:
        num_tiles *= page.samplesperpixel
    num_found = (len(page.dataoffsets), len(page.databytecounts))
    if num_found == (num_tiles, num_tiles):
        return None
    return (
        f"{page.imagewidth} x {page.imagelength} px in {num_tiles} tiles, but places of "
        f"{num_found[0]} and sizes of {num_found[1]}"
    )


def _layout(tiff: tifffile.TiffFile) -> TiffLayout:
    first = tiff.pages.first
    text = description(first)
    vendor = _vendor(tiff, first, text)
    reason = _why_no_colours(first)
    if reason is not None:
        raise RefusedError(reason)
    grids: list[TileGrid] = []
    notes: list[str] = []
    try:
        pages = _level_pages(tiff, first, vendor, text, notes)
        for number, page in enumerate(pages):
            grids.append(_tile_grid(page, number))
    except NotClaimedError as error:
        if grids:
            # OpenSlide would leave the level out, and read all of a finer one for a thumbnail.
            raise DamagedError(f"is damaged: {error}, unlike the levels before it") from error
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DamagedError(f"is damaged: a level has a tag of the wrong kind ({error})") from error
    _mark_overlaps(grids)
    for page, grid in zip(pages, grids, strict=True):
        _check_colours(page, _first_tile(tiff, grid))
    if vendor == "philips":
        grids, downsamples, hints = _philips_sizes(text, grids)
    else:
        grids, downsamples = _fitting_levels(tiff, grids, notes)
        hints = _mpp_hints(first, vendor, text)
    if vendor == "aperio" and any((grid.byte_counts == 0).any() for grid in grids[1:]):
        # OpenSlide fills those from the finer level.
        raise NotClaimedError("a coarser level of an Aperio file lacks tiles")
    return TiffLayout(
        levels=grids,
        downsamples=downsamples,
        vendor=vendor,
        codec="jpeg" if first.compression == _JPEG else UNPACKERS[int(first.compression)][0],
        mpp_hints=hints,
        objective_power=_aperio_value(text, "AppMag") if vendor == "aperio" else None,
        has_icc_profile=any("InterColorProfile" in page.tags for page in pages),
        notes=tuple(notes),
    )


def _why_no_colours(page: tifffile.TiffPage) -> str | None:
    """Return why a page holds no tissue in colour, whichever reader decodes it."""
    if page.dtype is None or not page.samplesperpixel:
        return None  # damaged, which is said otherwise
    if page.dtype != np.uint8:
        bits = page.bitspersample
        return f"has {bits} bit{'s' * (bits != 1)} a channel ({page.dtype}), and slides have 8"
    kind = int(page.photometric) if page.photometric is not None else _RGB
    if kind == _PALETTE:
        return "has a palette of colours, as pictures of labels have, and slides are RGB"
    if page.samplesperpixel < 3 or kind in _GREY:
        return "is grey, as masks and fluorescence are, and slides are RGB"
    return None


def _fitting_levels(
    tiff: tifffile.TiffFile, grids: list[TileGrid], notes: list[str]
) -> tuple[list[TileGrid], list[float]]:
    """Return the levels that lie over level 0, without padding, and their downsamples.

    Adds a note for each that is left out.
    """
    finest = grids[0]
    kept, downsamples = [finest], [1.0]
    for number, grid in enumerate(grids[1:], start=1):
        expected = downsamples[-1] * (downsamples[1] if len(downsamples) > 1 else 2.0)
        fit = fit_level(
            (finest.width, finest.height),
            (grid.width, grid.height),
            (grid.tile_width, grid.tile_height),
            expected=expected,
        )
        if isinstance(fit, str):
            notes.append(f"level {number} is left out: it {fit}")
            continue
        kept.append(replace(grid, width=fit.width, height=fit.height))
        downsamples.append(fit.downsample)

    def read(offset: int, num_bytes: int) -> bytes:
        tiff.filehandle.seek(offset)
        return bytes(tiff.filehandle.read(num_bytes))

    size = tiff.filehandle.size
    is_level = same_levels(kept, downsamples, tile_reader(read), size)
    if not all(is_level):
        notes.append("a page is left out: it has the shape of a level and shows something else")
    return (
        [grid for grid, is_one in zip(kept, is_level, strict=True) if is_one],
        [one for one, is_one in zip(downsamples, is_level, strict=True) if is_one],
    )


def _vendor(tiff: tifffile.TiffFile, first: tifffile.TiffPage, text: str) -> str:
    foreign = _OWN_LAYOUTS & set(tiff.flags)
    software = str(first.software or "")
    if foreign or software.startswith("MedScan") or "OverlapsXY" in text:
        name = ", ".join(sorted(foreign)) or "Trestle"
        raise NotClaimedError(f"{name} files keep their levels in a way of their own")
    if text.startswith("Aperio"):
        return "aperio"
    if software.startswith("Philips"):
        return "philips"
    return "ome" if tiff.is_ome and _is_xml(text) else "generic-tiff"


def description(page: tifffile.TiffPage) -> str:
    """Return what a page says in words, in whatever way its writer has coded them.

    Converters write Latin-1, UTF-16, bytes instead of text, and zeros at either end.
    """
    tag = page.tags.get("ImageDescription")
    if tag is None or tag.dtype not in _BYTE_TYPES or tag.count > _MAX_DESCRIPTION_BYTES:
        return ""
    # As it stands: tifffile ends it at the first zero.
    file = page.parent.filehandle
    file.seek(tag.valueoffset)
    value = bytes(file.read(tag.count))
    is_wide = value[:2] in (b"\xff\xfe", b"\xfe\xff") or value[1:20:2].count(0) > 5
    if is_wide:
        value = value[: len(value) // 2 * 2]  # a zero of one byte may end it
    for coding in ("utf-16", "utf-16-le") if is_wide else ("utf-8", "latin-1"):
        try:
            return value.decode(coding).strip("\0\ufeff \r\n\t")
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1").strip("\0 \r\n\t")


def _is_xml(description: str) -> bool:
    try:
        ET.fromstring(description)
    except ET.ParseError:
        return False
    return True


def _level_pages(
    tiff: tifffile.TiffFile,
    first: tifffile.TiffPage,
    vendor: str,
    text: str,
    notes: list[str],
) -> list[tifffile.TiffPage]:
    """Return the pages that may be levels, the finest first; adds notes on those that are not."""
    if vendor == "ome":
        _check_ome(text)
    if vendor == "ome" or first.subifds:
        # The levels of an OME file are SubIFDs of its first page; other pages are other images.
        others = [page.aspage() for page in first.pages or () if page is not None]
        return [first, *_by_size(page for page in others if page.is_tiled)]
    others = [page.aspage() for page in tiff.pages[1:]]
    # Reduced pages are levels; label and macro are stripped, or not marked as reduced.
    all_tiled = vendor in ("aperio", "philips")
    levels, unmarked = [], 0
    for page in (page for page in others if page.is_tiled):
        if int(page.subfiletype) & _NO_LEVEL or _CALLED_OTHERWISE.search(description(page)):
            notes.append("a page is left out: the file calls it a macro, a label or a mask")
            continue
        is_marked = all_tiled or page.is_reduced
        is_one = is_marked or (_why_no_rgb_tiles(page) is None and _fits_unmarked(first, page))
        if not is_one:
            continue
        unmarked += not is_marked
        levels.append(page)
    if unmarked:
        notes.append("levels are told by their size, as the file does not mark them as such")
    if any(page.imagewidth > first.imagewidth for page in levels):
        raise NotClaimedError("its first page is not its finest level")
    return [first, *_by_size(levels)]


def _fits_unmarked(first: tifffile.TiffPage, page: tifffile.TiffPage) -> bool:
    """Return whether a page that nothing calls a level has exactly the shape of one."""
    sizes = [(int(one.imagewidth), int(one.imagelength)) for one in (first, page)]
    if not min(*sizes[0], *sizes[1], int(page.tilewidth), int(page.tilelength)) > 0:
        return False
    fit = fit_level(sizes[0], sizes[1], (int(page.tilewidth), int(page.tilelength)))
    return not isinstance(fit, str) and page.photometric == first.photometric


def _by_size(pages: Iterable[tifffile.TiffPage]) -> list[tifffile.TiffPage]:
    return sorted(pages, key=lambda page: -int(page.imagewidth))


def _check_ome(description: str) -> None:
    root = ET.fromstring(description)
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        raise NotClaimedError("its OME description has no Pixels")
    sizes = [int(pixels.get(f"Size{axis}", "1")) for axis in "ZTC"]
    if sizes[:2] != [1, 1] or sizes[2] != 3:
        raise NotClaimedError(f"it has {sizes} planes, times and channels, so it is no RGB slide")


def _tile_grid(page: tifffile.TiffPage, number: int) -> TileGrid:
    reason = _why_no_rgb_tiles(page)
    if reason is not None:
        raise NotClaimedError(f"level {number} {reason}")
    width, height = int(page.imagewidth), int(page.imagelength)
    tile_width, tile_height = int(page.tilewidth), int(page.tilelength)
    reason = _wrong_number_of_tiles(page)
    if reason is not None:
        raise DamagedError(f"is damaged: level {number} has {reason}")
    offsets, byte_counts = (
        np.minimum(np.asarray(values, np.uint64), _BEYOND).astype(np.int64)
        for values in (page.dataoffsets, page.databytecounts)
    )
    return TileGrid(
        width=width,
        height=height,
        tile_width=tile_width,
        tile_height=tile_height,
        num_columns=-(-width // tile_width),
        offsets=offsets,
        byte_counts=byte_counts,
        misplaced=(byte_counts > 0) & (offsets < _FIRST_TILE_AT),
        decoder=_decoder(page, tile_width, tile_height),
    )


def _mark_overlaps(grids: Sequence[TileGrid]) -> None:
    """Mark tiles within which another begins; those that share all their bytes are copies."""
    begins = np.concatenate([grid.offsets for grid in grids])
    lengths = np.concatenate([grid.byte_counts for grid in grids])
    scanned = np.flatnonzero(lengths)
    order = scanned[np.lexsort((lengths[scanned], begins[scanned]))]
    begins, lengths = begins[order], lengths[order]
    is_new = np.diff(begins, prepend=-1).astype(bool) | np.diff(lengths, prepend=-1).astype(bool)
    place = np.cumsum(is_new) - 1
    begins, lengths = begins[is_new], lengths[is_new]
    holds_next = np.zeros(len(begins), bool)
    holds_next[:-1] = begins[1:] - begins[:-1] < lengths[:-1]
    misplaced = np.zeros(sum(len(grid.offsets) for grid in grids), bool)
    misplaced[order] = holds_next[place]
    first = 0
    for grid in grids:
        grid.misplaced[:] |= misplaced[first : first + len(grid.offsets)]
        first += len(grid.offsets)


def _why_no_rgb_tiles(page: tifffile.TiffPage) -> str | None:
    compression, photometric = int(page.compression), int(page.photometric)
    may_be_ycbcr = compression in (_JPEG, _APERIO_JP2K_YCBCR)
    checks = (
        (
            page.is_tiled and min(page.tilewidth, page.tilelength) >= 1,
            "is not stored in tiles",
        ),
        (min(page.imagewidth, page.imagelength) >= 1, "has no pixels; the file is damaged"),
        (
            page.tilewidth * page.tilelength <= _MAX_TILE_PIXELS,
            f"has tiles of {page.tilewidth} x {page.tilelength} px, too large to read one by one",
        ),
        (
            page.dtype == np.uint8 and page.samplesperpixel == 3 and page.planarconfig == 1,
            f"has {page.samplesperpixel} channels of {page.dtype}, not RGB in 8 bits",
        ),
        (
            compression == _JPEG or compression in UNPACKERS,
            f"is compressed by {_codec_name(compression)}, which is not known here",
        ),
        (
            photometric == _RGB or (photometric == _YCBCR and may_be_ycbcr),
            f"has photometric interpretation {photometric}, not RGB",
        ),
        (
            int(page.predictor) == 1 or (page.predictor == 2 and compression in _PREDICTED),
            f"has predictor {page.predictor} and compression {compression}, not known together",
        ),
        (int(page.fillorder) == 1, "has its bits in reverse order"),
    )
    return next((reason for holds, reason in checks if not holds), None)


def _codec_name(compression: int) -> str:
    try:
        return f"{tifffile.COMPRESSION(compression).name} (method {compression})"
    except ValueError:
        return f"method {compression}"


def _first_tile(tiff: tifffile.TiffFile, grid: TileGrid) -> bytes:
    scanned = np.flatnonzero(grid.byte_counts)
    if scanned.size == 0:
        return b""
    tiff.filehandle.seek(int(grid.offsets[scanned[0]]))
    return bytes(tiff.filehandle.read(min(int(grid.byte_counts[scanned[0]]), _HEADER_BYTES)))


def _check_colours(page: tifffile.TiffPage, tile: bytes) -> None:
    """Refuse files whose tiles contradict their pages, or would be rounded otherwise."""
    compression = int(page.compression)
    if compression == _JPEG:
        says_rgb = _adobe_transform(tile)
        if says_rgb is not None and (says_rgb == 0) != (int(page.photometric) == _RGB):
            raise NotClaimedError("its pages and its tiles disagree whether they are RGB or YCbCr")
        if tile and has_unknown_sampling(tile):
            raise NotClaimedError("its JPEG tiles sample colours in a way that is not known here")
    if compression == _APERIO_JP2K_YCBCR and is_subsampled(tile):
        # The codec converts such colours itself, by another rounding than OpenSlide's (1 level).
        raise NotClaimedError("its JPEG 2000 tiles have chroma at half resolution")


def _adobe_transform(tile: bytes) -> int | None:
    try:
        return read_frame(tile).adobe_transform
    except TileError:
        # One damaged tile is found when it is read; the others may be good.
        return None


def _decoder(page: tifffile.TiffPage, width: int, height: int) -> TileDecoder:
    compression = int(page.compression)
    if compression == _JPEG:
        is_rgb = int(page.photometric) == _RGB
        return JpegDecoder(width, height, tables=page.jpegtables, is_rgb=is_rgb)
    return PackedDecoder(
        width,
        height,
        compression=compression,
        predicts=int(page.predictor) == 2,
        is_ycbcr=compression == _APERIO_JP2K_YCBCR,
    )


def _mpp_hints(first: tifffile.TiffPage, vendor: str, text: str) -> list[MppHint]:
    hints = []
    if vendor == "aperio":
        mpp = _aperio_value(text, "MPP")
        hints += [] if mpp is None else [MppHint("aperio.MPP", mpp, mpp)]
    elif vendor == "ome":
        hints += _ome_hints(text)
    tags = first.tags
    if "XResolution" in tags and "YResolution" in tags and "ResolutionUnit" in tags:
        x, y = (_ratio(tags[f"{axis}Resolution"].value) for axis in "XY")
        unit = str(getattr(tags["ResolutionUnit"].value, "name", "")).lower()
        hints += resolution_hint(x, y, unit)
    return hints


def _ratio(value: object) -> float:
    # Some writers store a number of another type, and damaged files anything.
    above, below = (*value, 1)[:2] if isinstance(value, tuple) else (value, 1)
    try:
        return float(above) / float(below) if below else 0.0
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _aperio_value(text: str, name: str) -> str | None:
    found = re.search(rf"\|\s*{name}\s*=\s*([^|]*)", text)
    return found.group(1).strip() if found else None


def _ome_hints(description: str) -> list[MppHint]:
    pixels = next(
        node for node in ET.fromstring(description).iter() if node.tag.endswith("}Pixels")
    )
    texts = [pixels.get(f"PhysicalSize{axis}") for axis in "XY"]
    units = [_UM_OF_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"]
    if None in texts or None in units:
        return []
    x, y = (microns(text) * (unit or 0.0) for text, unit in zip(texts, units, strict=True))
    return [MppHint("ome.PhysicalSize", x, y)]


def _philips_sizes(
    text: str, grids: Sequence[TileGrid]
) -> tuple[list[TileGrid], list[float], list[MppHint]]:
    """Return levels without their padding: Philips pads each to whole tiles of the finest.

    The true downsamples are those of the pixel spacings in the description.
    """
    spacings = _philips_spacings(text)
    if len(spacings) < len(grids):
        raise NotClaimedError("its Philips description lacks the pixel spacing of a level")
    finest = spacings[0]
    # Spacings are stored with few digits; Philips levels are powers of two.
    downsamples = [float(round(y / finest[0])) for y, _ in spacings[: len(grids)]]
    sizes = [
        (int(grids[0].width / downsample), int(grids[0].height / downsample))
        for downsample in downsamples
    ]
    trimmed = [
        replace(grid, width=min(width, grid.width), height=min(height, grid.height))
        for (width, height), grid in zip(sizes, grids, strict=True)
    ]
    y_mm, x_mm = finest
    return trimmed, downsamples, [MppHint("philips.DICOM_PIXEL_SPACING", x_mm * 1e3, y_mm * 1e3)]


def _philips_spacings(description: str) -> list[tuple[float, float]]:
    found = re.findall(
        r'Name="DICOM_PIXEL_SPACING"[^>]*>\s*(?:&quot;|")([\d.eE+-]+)(?:&quot;|")\s*'
        r'(?:&quot;|")([\d.eE+-]+)(?:&quot;|")',
        description,
    )
    spacings = [(float(y), float(x)) for y, x in found]
    # The first may be that of the whole image, said again for its finest level.
    return spacings[1:] if len(spacings) > 1 and spacings[0] == spacings[1] else spacings

"""What a TIFF says about itself: which pages are levels, where tiles lie, how large pixels are.

Reads headers once. What the direct reader cannot give exactly is refused with a reason, and another
reader takes the file.
"""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tifffile
from jaxtyping import Bool, Int

from eosin.backends.mpp import MppHint, resolution_hint
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
_PREDICTED = (5, 8, 32946)
"""LZW and deflate; libtiff looks at no predictor of other codecs."""
_OWN_LAYOUTS = frozenset(
    {"ndpi", "scn", "bif", "qpi", "lsm", "stk", "imagej", "avs", "eer", "gdal"}
)
"""Formats that are TIFFs by name; their pages do not mean what a plain pyramid's do."""

_MAX_ASPECT_ERROR_PX = 2.0
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
_UM_OF_UNIT = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


class NotClaimedError(Exception):
    """The direct reader leaves this file to others; the message says why."""

    num_levels = 0
    """That another reader must find, where that is known; libtiff leaves out what it cannot read,
    and all pages behind it."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The tiles of one level."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    num_columns: int
    """Tiles in a row; of the padded level where a format pads."""
    offsets: Int[np.ndarray, " tiles"]
    byte_counts: Int[np.ndarray, " tiles"]
    """0 for tiles that were never scanned."""
    misplaced: Bool[np.ndarray, " tiles"]
    """Whether a tile cannot lie where it is said to."""
    decoder: TileDecoder


class TiffLayout(NamedTuple):
    """All that is needed to read tiles, and what the file says about its scale."""

    levels: list[TileGrid]
    downsamples: list[float]
    vendor: str
    codec: str
    mpp_hints: list[MppHint]
    objective_power: str | None
    has_icc_profile: bool


class DamagedError(Exception):
    """No reader should be given this file: its headers ask for what cannot be."""


def parse_layout(tiff: tifffile.TiffFile) -> TiffLayout:
    """Return the pyramid of a TIFF.

    Raises:
        NotClaimedError: If it is none that can be read exactly.
        DamagedError: If no reader could give its pixels, or OpenSlide might take the process down
            with it.
    """
    _check_number_of_pages(tiff)
    try:
        return _layout(tiff)
    except NotClaimedError as error:
        for page in (page.aspage() for page in tiff.pages):
            # OpenSlide would leave out such a page and all behind it, so that the thumbnail comes
            # from a finer level.
            reason = _senseless_tags(page) or _impossible_tiles(page, tiff.filehandle.size)
            if reason is not None:
                raise DamagedError(f"{error}; and it is damaged: a page has {reason}") from error
        if str(tiff.pages.first.description).startswith("Aperio"):
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
    vendor = _vendor(tiff, first)
    grids: list[TileGrid] = []
    try:
        pages = _level_pages(tiff, first, vendor)
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
    if vendor == "aperio" and any((grid.byte_counts == 0).any() for grid in grids[1:]):
        # OpenSlide fills those from the finer level.
        raise NotClaimedError("a coarser level of an Aperio file lacks tiles")
    if vendor == "philips":
        grids, downsamples, hints = _philips_sizes(first, grids)
    else:
        downsamples = [_downsample(grids[0], grid) for grid in grids]
        hints = _mpp_hints(first, vendor)
    for number, (grid, downsample) in enumerate(zip(grids, downsamples, strict=True)):
        _check_aspect(grids[0], grid, downsample, number)
    return TiffLayout(
        levels=grids,
        downsamples=downsamples,
        vendor=vendor,
        codec="jpeg" if first.compression == _JPEG else UNPACKERS[int(first.compression)][0],
        mpp_hints=hints,
        objective_power=_aperio_value(first, "AppMag") if vendor == "aperio" else None,
        has_icc_profile=any("InterColorProfile" in page.tags for page in pages),
    )


def _vendor(tiff: tifffile.TiffFile, first: tifffile.TiffPage) -> str:
    foreign = _OWN_LAYOUTS & set(tiff.flags)
    software = str(first.software or "")
    if foreign or software.startswith("MedScan") or "OverlapsXY" in (first.description or ""):
        name = ", ".join(sorted(foreign)) or "Trestle"
        raise NotClaimedError(f"{name} files keep their levels in a way of their own")
    if (first.description or "").startswith("Aperio"):
        return "aperio"
    if software.startswith("Philips"):
        return "philips"
    return "ome" if tiff.is_ome and _is_xml(first.description) else "generic-tiff"


def _is_xml(description: str) -> bool:
    try:
        ET.fromstring(description)
    except ET.ParseError:
        return False
    return True


def _level_pages(
    tiff: tifffile.TiffFile, first: tifffile.TiffPage, vendor: str
) -> list[tifffile.TiffPage]:
    if vendor == "ome":
        _check_ome(first.description)
    if vendor == "ome" or first.subifds:
        # The levels of an OME file are SubIFDs of its first page; other pages are other images.
        others = [page.aspage() for page in first.pages or () if page is not None]
        return [first, *_by_size(page for page in others if page.is_tiled)]
    others = [page.aspage() for page in tiff.pages[1:]]
    # Reduced pages are levels; label and macro are stripped, or not marked as reduced.
    all_tiled = vendor in ("aperio", "philips")
    return [first, *_by_size(p for p in others if p.is_tiled and (all_tiled or p.is_reduced))]


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
            f"is compressed by method {compression}, which is not known here",
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


def _downsample(finest: TileGrid, grid: TileGrid) -> float:
    return (finest.width / grid.width + finest.height / grid.height) / 2


def _check_aspect(finest: TileGrid, grid: TileGrid, downsample: float, number: int) -> None:
    if grid.width > finest.width or grid.height > finest.height:
        raise NotClaimedError("its first page is not its finest level")
    error_px = max(
        abs(finest.width / downsample - grid.width), abs(finest.height / downsample - grid.height)
    )
    if error_px > _MAX_ASPECT_ERROR_PX:
        raise NotClaimedError(
            f"level {number} has {grid.width} x {grid.height} px, another shape than level 0"
        )


def _mpp_hints(first: tifffile.TiffPage, vendor: str) -> list[MppHint]:
    hints = []
    if vendor == "aperio":
        text = _aperio_value(first, "MPP")
        hints += [] if text is None else [MppHint("aperio.MPP", text, text)]
    elif vendor == "ome":
        hints += _ome_hints(first.description)
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


def _aperio_value(first: tifffile.TiffPage, name: str) -> str | None:
    found = re.search(rf"\|\s*{name}\s*=\s*([^|]*)", first.description)
    return found.group(1).strip() if found else None


def _ome_hints(description: str) -> list[MppHint]:
    pixels = next(
        node for node in ET.fromstring(description).iter() if node.tag.endswith("}Pixels")
    )
    texts = [pixels.get(f"PhysicalSize{axis}") for axis in "XY"]
    units = [_UM_OF_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"]
    if None in texts or None in units:
        return []
    try:
        x, y = (
            float(text or "nan") * (unit or 0.0) for text, unit in zip(texts, units, strict=True)
        )
    except ValueError:
        return []
    return [MppHint("ome.PhysicalSize", x, y)]


def _philips_sizes(
    first: tifffile.TiffPage, grids: Sequence[TileGrid]
) -> tuple[list[TileGrid], list[float], list[MppHint]]:
    """Return levels without their padding: Philips pads each to whole tiles of the finest.

    The true downsamples are those of the pixel spacings in the description.
    """
    spacings = _philips_spacings(first.description)
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

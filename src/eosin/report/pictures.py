"""Pixels as pictures of a page: encoded inline, laid out as contact sheets, drawn over slides."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from eosin.errors import ConfigError
from eosin.report.axis import Number
from eosin.report.page import Html, escape

MPP_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#000000", "#56b4e9")
"""One per octave from 0.25 um/px on, told apart by colour-blind readers and seen on H&E."""

TISSUE_RGB = (82, 48, 124)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tile:
    """Put one picture on a contact sheet."""

    image: UInt8[np.ndarray, "height width 3"]
    caption: str
    verdict: Literal["accepted", "rejected"] | None = None
    """Colours the border: blue and whole, or orange and broken."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PatchPlace:
    """Say where on a slide a patch was, in level-0 px of its top-left."""

    x_l0: Number
    y_l0: Number
    size_l0: Number
    mpp: Number


def picture(
    image: UInt8[np.ndarray, "height width 3"],
    alt: str,
    *,
    encoding: Literal["jpeg", "png"] = "jpeg",
    quality: int = 88,
) -> Html:
    """Return RGB pixels as an `<img>` that carries them.

    Args:
        image: RGB.
        alt: What it shows, for those who cannot see it.
        encoding: JPEG for tissue, PNG for what must be exact.
        quality: Of JPEG, 1 to 100; PNG has none.
    """
    height, width, _ = image.shape
    return Html(
        f'<img src="{_data_uri(image, encoding, quality)}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}">'
    )


def contact_sheet(tiles: Sequence[Tile], *, tile_px: int = 112) -> Html:
    """Return pictures in a grid, as many side by side as the screen has room for.

    Args:
        tiles: In reading order.
        tile_px: Least side on screen; larger pictures are shrunk to twice that before encoding.
    """
    if tile_px < 8:
        raise ConfigError(f"tile_px={tile_px} is too small to see; give 8 or more")
    figures = []
    for tile in tiles:
        kind = f"tile {tile.verdict}" if tile.verdict else "tile"
        alt = f"{tile.verdict}: {tile.caption}" if tile.verdict else tile.caption
        figures.append(
            f'<figure class="{kind}">{picture(_shrunk(tile.image, 2 * tile_px), alt)}'
            f"<figcaption>{escape(tile.caption)}</figcaption></figure>"
        )
    return Html(f'<div class="sheet" style="--tile: {tile_px}px">{"".join(figures)}</div>')


def picture_rows(header: Sequence[str], rows: Sequence[Sequence[Tile]]) -> Html:
    """Return pictures in rows under named columns, all of one width.

    Args:
        header: One name a column.
        rows: As many tiles each; a tile without a caption is named by its row and column.

    Raises:
        ConfigError: If a row is not as long as the header.
    """
    cells = [f"<span>{escape(name)}</span>" for name in header]
    for row in rows:
        if len(row) != len(header):
            raise ConfigError(f"a row has {len(row)} pictures under {len(header)} headings")
        for name, tile in zip(header, row, strict=True):
            alt = tile.caption or f"{row[0].caption}, {name}"
            caption = f"<figcaption>{escape(tile.caption)}</figcaption>" if tile.caption else ""
            cells.append(f'<figure class="tile">{picture(tile.image, alt)}{caption}</figure>')
    style = f"--columns: {len(header)}"
    return Html(f'<div class="wide"><div class="rows" style="{style}">{"".join(cells)}</div></div>')


def slide_overlay(
    thumbnail: UInt8[np.ndarray, "height width 3"],
    tissue: Bool[np.ndarray, "mask_height mask_width"],
    places: Sequence[PatchPlace],
    *,
    width_l0: int,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the tissue mask and the places of patches over a slide's thumbnail.

    Tissue is outlined and what is outside of it faded; a patch is a square of its true size and
    place, coloured by magnification (`mpp_colour`), at least three pixels wide.

    Args:
        thumbnail: RGB of the whole slide.
        tissue: Of the whole slide, at any resolution.
        places: Patches; small ones are drawn over large ones.
        width_l0: Width of the slide, level-0 px, which tells the scale of the thumbnail.
    """
    height, width, _ = thumbnail.shape
    mask = cv2.resize(tissue.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    faded = (thumbnail // 2 + 127).astype(np.uint8)
    drawn = np.where(mask[:, :, None] > 0, thumbnail, faded)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, TISSUE_RGB, thickness=_stroke_px(thumbnail))
    for place in sorted(places, key=lambda place: -place.size_l0):
        _draw_place(drawn, place, width / width_l0)
    return drawn


def mpp_colour(mpp: Number) -> str:
    """Return the colour of a magnification, the same on every page: one per octave."""
    octave = round(math.log2(mpp / 0.25))
    return MPP_COLOURS[min(max(octave, 0), len(MPP_COLOURS) - 1)]


def mpp_legend(mpps: Sequence[Number]) -> Html:
    """Return what the colours of `slide_overlay` mean, finest magnification first."""
    entries = "".join(
        f'<li><svg width="14" height="14" aria-hidden="true"><rect x="2" y="2" width="10" '
        f'height="10" fill="none" stroke="{mpp_colour(mpp)}" stroke-width="3"/></svg>'
        f"{mpp:g} \u00b5m/px</li>"
        for mpp in sorted(set(mpps))
    )
    return Html(f'<ul class="legend">{entries}</ul>')


def _draw_place(
    drawn: UInt8[np.ndarray, "height width 3"], place: PatchPlace, px_per_l0: float
) -> None:
    left, top = round(place.x_l0 * px_per_l0), round(place.y_l0 * px_per_l0)
    side = max(round(place.size_l0 * px_per_l0), 3)
    corners = (left, top), (left + side - 1, top + side - 1)
    stroke = _stroke_px(drawn)
    # A light rim keeps dark squares visible on dark tissue.
    cv2.rectangle(drawn, *corners, (255, 255, 255), thickness=stroke + 2)
    cv2.rectangle(drawn, *corners, _rgb(mpp_colour(place.mpp)), thickness=stroke)


def _stroke_px(image: UInt8[np.ndarray, "height width 3"]) -> int:
    longest_px: int = max(image.shape)
    return max(1, round(longest_px / 450))


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _shrunk(
    image: UInt8[np.ndarray, "height width 3"], longest_px: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    height, width, _ = image.shape
    scale = longest_px / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _data_uri(
    image: UInt8[np.ndarray, "height width 3"], encoding: Literal["jpeg", "png"], quality: int
) -> str:
    if encoding not in ("jpeg", "png"):
        raise ConfigError(f"encoding={encoding!r} must be 'jpeg' or 'png'")
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality={quality} must be from 1 to 100")
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if encoding == "jpeg" else []
    is_done, encoded = cv2.imencode(
        f".{encoding}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings
    )
    if not is_done:
        raise ConfigError(f"an image of {image.shape} cannot be encoded as {encoding}")
    return f"data:image/{encoding};base64,{base64.b64encode(encoded.tobytes()).decode()}"

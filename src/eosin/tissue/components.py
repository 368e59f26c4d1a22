"""Pieces and holes of a mask by their size, without a loop over them."""

import cv2
import numpy as np
from jaxtyping import Bool, Int

Mask = Bool[np.ndarray, "height width"]


def pieces_over(mask: Mask, area_px: float) -> Mask:
    """Return the connected pieces (also by a corner) that have more pixels than this."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] > area_px
    keep[0] = False  # what is no piece
    return np.asarray(keep[labels])


def pieces_at_edge(mask: Mask) -> Mask:
    """Return the connected pieces (also by a corner) that reach the edge of the mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = _touches_edge(stats, mask.shape)
    keep[0] = False  # what is no piece
    return np.asarray(keep[labels])


def fill_holes(mask: Mask, area_px: float, *, max_kept: int | None = None) -> Mask:
    """Return the mask with its small holes filled.

    A hole is glass from which no way along sides of pixels leads to the edge of the mask.

    Args:
        mask: What is tissue.
        area_px: Holes of more pixels than this stay.
        max_kept: So many holes of each piece of tissue stay at most, the largest; None for all.
    """
    glass = (~mask).view(np.uint8)
    num, labels, stats, _ = cv2.connectedComponentsWithStats(glass, connectivity=4)
    stays = np.ones(num, bool)
    stays[1:] = _touches_edge(stats[1:], mask.shape)
    holes = np.flatnonzero(~stays)
    large = holes[stats[holes, cv2.CC_STAT_AREA] > area_px]
    if max_kept is not None:
        large = _largest_of_each_piece(mask, labels, large, stats, max_kept)
    stays[large] = True
    stays[0] = False  # the tissue itself
    return np.asarray(~stays[labels])


def _touches_edge(
    stats: Int[np.ndarray, "pieces 5"], shape: tuple[int, ...]
) -> Bool[np.ndarray, " pieces"]:
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    return np.asarray((left == 0) | (top == 0) | (right == shape[1]) | (bottom == shape[0]))


def _largest_of_each_piece(
    mask: Mask,
    labels: Int[np.ndarray, "height width"],
    holes: Int[np.ndarray, " holes"],
    stats: Int[np.ndarray, "pieces 5"],
    max_kept: int,
) -> Int[np.ndarray, " kept"]:
    _, pieces = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    # A hole's first pixel, row by row, has the piece around it to the left: nothing of the hole is
    # above it that could hold an island there.
    wanted = np.zeros(len(stats), bool)
    wanted[holes] = True
    pixels = np.flatnonzero(wanted[labels])
    found, at = np.unique(labels.ravel()[pixels], return_index=True)
    owners = pieces.ravel()[pixels[at] - 1]
    areas = stats[found, cv2.CC_STAT_AREA]
    order = np.lexsort((found, -areas, owners))
    first_of_owner = np.searchsorted(owners[order], owners[order], side="left")
    rank = np.arange(len(order)) - first_of_owner
    return np.asarray(found[order[rank < max_kept]])

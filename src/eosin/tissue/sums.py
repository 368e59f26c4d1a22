"""A mask and its exact prefix sums in less memory than the mask as booleans."""

from typing import final

import cv2
import numpy as np
from jaxtyping import Bool, Int

_BLOCK = 8

_ABOVE_LEFT = tuple(
    sum(1 << (8 * row + column) for row in range(down) for column in range(across))
    for down in range(_BLOCK)
    for across in range(_BLOCK)
)
"""The bits of a block in its first `down` rows and first `across` columns, at 8 * down + across."""


@final
class MaskSums:
    """How much of a mask lies above and left of any of its grid points.

    The mask is kept as one 64-bit word for each block of 8 x 8 cells. The sum at a point is that at
    its block's corner, plus the strips above and left of the block, plus a count of bits in it. The
    strips are kept for every eighth row and column as 16-bit differences, so that all takes 0.7
    bytes a cell; an integral image of 32 bits beside a mask of booleans takes 5.
    """

    def __init__(self, mask: Bool[np.ndarray, "height width"]) -> None:
        self.shape = (int(mask.shape[0]), int(mask.shape[1]))
        sums = integral(mask)
        corners = sums[::_BLOCK, ::_BLOCK].copy()
        # A strip is 7 cells wide at most and as long as the mask.
        narrow = np.uint16 if 7 * max(self.shape) < 2**16 else np.int32
        rows, columns = (np.arange(n + 1) // _BLOCK for n in self.shape)
        self._words = _words(mask)
        above = (sums[::_BLOCK] - corners[:, columns]).astype(narrow)
        left = (sums[:, ::_BLOCK] - corners[rows]).astype(narrow)
        self.num_bytes: int = self._words.nbytes + corners.nbytes + above.nbytes + left.nbytes
        """Memory that the sums and the mask in them take."""
        # Bound methods, because looking them up would take a third of the time of `at`.
        self._word, self._corner = self._words.item, corners.item
        self._above, self._left = above.item, left.item

    @property
    def total(self) -> int:
        """Cells of tissue."""
        return self.at(*self.shape)

    def at(self, row: int, column: int) -> int:
        """Return the cells of tissue above a row and left of a column."""
        block_row, block_column = row >> 3, column >> 3
        inside = self._word(block_row, block_column) & _ABOVE_LEFT[(row & 7) << 3 | column & 7]
        total: int = (
            self._corner(block_row, block_column)
            + self._above(block_row, column)
            + self._left(row, block_column)
            + inside.bit_count()
        )
        return total

    def mask(self) -> Bool[np.ndarray, "height width"]:
        """Return the mask as booleans, unpacked anew."""
        block_rows, block_columns = self._words.shape
        by_block = self._words.view(np.uint8).reshape(block_rows, block_columns, _BLOCK)
        by_row = by_block.transpose(0, 2, 1).reshape(block_rows * _BLOCK, block_columns)
        bits = np.unpackbits(by_row, axis=1, bitorder="little")
        return np.ascontiguousarray(bits[: self.shape[0], : self.shape[1]]).view(np.bool_)


def integral(mask: Bool[np.ndarray, "height width"]) -> Int[np.ndarray, "rows columns"]:
    """Return the sums above and left of each grid point, a row and a column more than the mask."""
    return np.asarray(cv2.integral(np.ascontiguousarray(mask).view(np.uint8), sdepth=cv2.CV_32S))


def _words(mask: Bool[np.ndarray, "height width"]) -> np.ndarray:
    # A row and a column of empty blocks at the end, so that every grid point is in a block.
    block_rows, block_columns = (n // _BLOCK + 1 for n in mask.shape)
    padded = np.zeros((block_rows * _BLOCK, block_columns), np.uint8)
    packed = np.packbits(mask, axis=1, bitorder="little")
    padded[: packed.shape[0], : packed.shape[1]] = packed
    by_block = padded.reshape(block_rows, _BLOCK, block_columns).transpose(0, 2, 1)
    return np.ascontiguousarray(by_block).view("<u8")[..., 0]
